//! What a scenario found, for people.

use std::fmt;

/// Figures and facts of a scenario that passed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    lines: Vec<String>,
}

impl Report {
    /// Adds a fact.
    pub fn say(&mut self, line: impl Into<String>) {
        let line = line.into();
        tracing::info!("{line}");
        self.lines.push(line);
    }

    /// Adds a figure.
    pub fn figure(&mut self, name: &str, value: impl fmt::Display) {
        self.say(format!("{name}: {value}"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}
