//! One template: parsed, and rendered within bounds.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::fault::Fault;
use crate::quoting;
use crate::scope::Missed;

/// Instructions that one template may take, of which 64 bytes of memory cost one: 3 MiB, many
/// times the longest template with the longest values, in some milliseconds.
const FUEL: u64 = 50_000;
/// Loops and expressions within each other.
const DEPTH: usize = 50;

/// A template that was understood.
pub(crate) struct Template<'a> {
    slot: &'a str,
    text: &'a str,
    environment: Environment<'a>,
}

impl<'a> Template<'a> {
    pub(crate) fn parse(slot: &'a str, text: &'a str) -> Result<Self, Fault> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH);
        // A value that is not given is a mistake, not an empty text.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // Lines that hold nothing but a statement leave nothing behind, and the last newline stays.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build();
        let template = Self {
            slot,
            text,
            environment,
        };
        let syntax = syntax.map_err(|error| template.fault(&error, &Missed::default()))?;
        let mut template = template;
        template.environment.set_syntax(syntax);
        quoting::add_to(&mut template.environment);
        match template.environment.template_from_str(text) {
            Ok(_) => Ok(template),
            Err(error) => Err(template.fault(&error, &Missed::default())),
        }
    }

    /// The text that it makes of what it sees in `root`.
    pub(crate) fn render(&self, root: &Value, missed: &Missed) -> Result<String, Fault> {
        self.environment
            .template_from_str(self.text)
            .and_then(|template| template.render(root))
            .map_err(|error| self.fault(&error, missed))
    }

    /// The name that was missed, unless the template made it up of values.
    fn as_written(&self, missed: &Missed) -> String {
        let is_written = |path: &String| {
            let name = path.rsplit('.').next();
            name.is_some_and(|name| self.text.contains(name))
        };
        missed
            .last()
            .filter(is_written)
            .unwrap_or_else(|| "a value".to_owned())
    }

    /// The fault behind an error of the engine. Its details are told only where they can speak of
    /// nothing but the template.
    fn fault(&self, error: &Error, missed: &Missed) -> Fault {
        let slot = self.slot.to_owned();
        let line = error.line().unwrap_or(1);
        let failed = |why| Fault::RenderFailed {
            slot: slot.clone(),
            line,
            why,
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "whatever else there is, and will be, is an operation on a value that does not take it"
        )]
        match error.kind() {
            ErrorKind::SyntaxError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::InvalidDelimiter => Fault::TemplateInvalid {
                why: error.detail().unwrap_or("it is not understood").to_owned(),
                slot,
                line,
            },
            ErrorKind::UndefinedError => Fault::ValueMissing {
                name: self.as_written(missed),
                slot,
                line,
            },
            ErrorKind::OutOfFuel => failed(
                "it takes more time or memory than a template may, see docs/configuration.md",
            ),
            ErrorKind::MissingArgument | ErrorKind::TooManyArguments => {
                failed("a filter or function has too few or too many arguments")
            }
            _ => failed("a value cannot be used like that"),
        }
    }
}
