//! Why a file cannot be made, in words for conditions: what, where, remedy. Values, which may be
//! secret, are never quoted; templates may be.

/// Why a file cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Fault {
    #[error("the template of file {slot} is none, line {line}: {why}")]
    TemplateInvalid {
        slot: String,
        line: usize,
        why: String,
    },
    #[error("the template of file {slot} uses {name} in line {line}, which is not given")]
    ValueMissing {
        slot: String,
        line: usize,
        name: String,
    },
    #[error("the template of file {slot} fails in line {line}: {why}")]
    RenderFailed {
        slot: String,
        line: usize,
        why: &'static str,
    },
}

impl Fault {
    /// A bounded word for a condition's reason.
    pub fn category(&self) -> &'static str {
        match self {
            Fault::TemplateInvalid { .. } => "TemplateInvalid",
            Fault::ValueMissing { .. } => "ValueMissing",
            Fault::RenderFailed { .. } => "RenderFailed",
        }
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Fault::TemplateInvalid { .. } => {
                "create another DpuImage whose template is right, see docs/configuration.md"
            }
            Fault::ValueMissing { .. } => {
                "add it to spec.values of the Dpu (or set what else it names there), or give it a default in the template of another DpuImage"
            }
            Fault::RenderFailed { .. } => {
                "correct the value that is used there, or the template in another DpuImage"
            }
        }
    }
}
