//! The tools: how they are called, and what their reports say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

/// For one run: the use cases wait most of it.
const LONGEST: Duration = Duration::from_secs(600);

/// One of DMTF's tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tool {
    /// Redfish Service Validator: documents against the schemas.
    Service,
    /// Redfish Interop Validator with what Ironic asks.
    Interop,
    /// Redfish Protocol Validator: HTTP, authentication, headers.
    Protocol,
    /// Redfish Use Case Checkers: power, boot override, accounts.
    UseCases,
}

/// Every tool, the longest first.
pub(super) const TOOLS: &[Tool] = &[Tool::UseCases, Tool::Protocol, Tool::Service, Tool::Interop];

/// The BMC under test.
#[derive(Debug)]
pub(super) struct Bmc {
    pub(super) url: String,
    pub(super) user: String,
    pub(super) password: String,
    /// Its certificate.
    pub(super) trusted: PathBuf,
    /// For reports.
    pub(super) folder: PathBuf,
}

/// What a tool found.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) passed: u64,
    pub(super) warned: u64,
    pub(super) failed: u64,
    /// The failures, one by one.
    pub(super) failures: Vec<String>,
}

impl Tool {
    /// Its short name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Interop => "interop",
            Self::Protocol => "protocol",
            Self::UseCases => "use-cases",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Service => "rf_service_validator",
            Self::Interop => "rf_interop_validator",
            Self::Protocol => "rf_protocol_validator",
            Self::UseCases => "rf_use_case_checkers",
        }
    }

    /// Runs it against a BMC and reads its report.
    pub(super) async fn run(
        self,
        tools: &Path,
        csdl: &Path,
        assets: &Path,
        bmc: &Bmc,
    ) -> Result<Outcome> {
        let reports: OsString = bmc.folder.clone().into();
        let mut arguments: Vec<OsString> = vec!["--user".into(), (&bmc.user).into()];
        arguments.extend(["--password".into(), (&bmc.password).into()]);
        arguments.extend(["--rhost".into(), (&bmc.url).into()]);
        match self {
            Self::Service => {
                arguments.extend(["--authtype", "Basic", "--skipschema"].map(Into::into));
                arguments.extend(["--schema_directory".into(), csdl.into()]);
                arguments.extend(["--logdir".into(), reports]);
            }
            Self::Interop => {
                arguments.extend(["--authtype", "Basic"].map(Into::into));
                arguments.extend(["--logdir".into(), reports]);
                arguments.push(assets.join("ironic.json").into());
            }
            Self::Protocol => {
                arguments.extend(["--ca-bundle".into(), (&bmc.trusted).into()]);
                arguments.extend(["--report-type", "tsv", "--avoid-http-redirect"].map(Into::into));
                arguments.extend(["--report-dir".into(), reports]);
            }
            Self::UseCases => arguments.extend(["--report-dir".into(), reports]),
        }
        let mut command = Command::new(tools.join("bin").join(self.program()));
        command
            .args(arguments)
            .current_dir(&bmc.folder)
            // Only this BMC's certificate counts, and no proxy stands in between.
            .env_remove("REQUESTS_CA_BUNDLE")
            .env_remove("CURL_CA_BUNDLE")
            .env("no_proxy", "*")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(LONGEST, command.output())
            .await
            .with_context(|| format!("{} has not ended after {LONGEST:?}", self.program()))?
            .with_context(|| format!("cannot start {}", self.program()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        std::fs::write(bmc.folder.join("output.txt"), &output.stdout)
            .and_then(|()| std::fs::write(bmc.folder.join("errors.txt"), &output.stderr))
            .context("cannot keep the output")?;
        let report = self.report(&bmc.folder)?;
        let outcome = match self {
            Self::Protocol => protocol(&String::from_utf8_lossy(&output.stderr), &said, &report),
            Self::Service | Self::Interop | Self::UseCases => table(&said, &report),
        };
        let outcome = outcome.with_context(|| {
            format!(
                "{} ended with {} before its summary",
                self.program(),
                output.status
            )
        })?;
        // The count is the tool's; our reading of its log must agree. One tool logs more than it
        // counts: several failures of one property are one to it.
        let read = outcome.failures.len() as u64;
        ensure!(
            read >= outcome.failed && (read == 0) == (outcome.failed == 0),
            "{} counts {} failure(s), its log shows {}",
            self.program(),
            outcome.failed,
            outcome.failures.len()
        );
        Ok(outcome)
    }

    /// The text of its log or table.
    fn report(self, folder: &Path) -> Result<String> {
        let wanted = match self {
            Self::Protocol => "tsv",
            Self::Service | Self::Interop | Self::UseCases => "log",
        };
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            let entries = std::fs::read_dir(&folder)
                .with_context(|| format!("cannot list {}", folder.display()))?;
            for entry in entries {
                let path = entry.context("cannot list a folder")?.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|end| end == wanted) {
                    return std::fs::read_to_string(&path)
                        .with_context(|| format!("cannot read {}", path.display()));
                }
            }
        }
        bail!("{} has left no report", self.program())
    }
}

/// The summary of three of them is a table: PASS, WARN, FAIL, NOT TESTED. Their logs show every
/// failure as an error.
fn table(said: &str, log: &str) -> Option<Outcome> {
    let mut lines = said.lines().skip_while(|line| !line.contains("NOT TESTED"));
    let row = lines.nth(2)?;
    let numbers: Vec<u64> = row
        .split('|')
        .map(uncoloured)
        .filter_map(|cell| cell.trim().parse().ok())
        .collect();
    let [passed, warned, failed, _untested] = numbers[..] else {
        return None;
    };
    Some(Outcome {
        passed,
        warned,
        failed,
        failures: logged(log),
    })
}

/// A cell without the escape sequences of terminals.
fn uncoloured(cell: &str) -> String {
    let mut parts = cell.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    text
}

/// The failures in a log, each with what was being looked at.
fn logged(log: &str) -> Vec<String> {
    let mut failures = Vec::new();
    let (mut subject, mut test) = (String::new(), None);
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once(" - INFO - Validating ") {
            rest.trim_end_matches("...").clone_into(&mut subject);
        } else if let Some((_, rest)) = line.split_once(" - ERROR - ") {
            if let Some(failure) = rest.strip_prefix("FAIL - ") {
                failures.push(format!("{subject} {failure}"));
            } else if rest.starts_with("Failing the ") {
                test = Some(rest.to_owned());
            } else if let Some(test) = test.take() {
                failures.push(format!("{test} {rest}"));
            }
        }
    }
    failures
}

/// The protocol validator's summary is a line, its report a table of assertions.
fn protocol(errors: &str, said: &str, report: &str) -> Option<Outcome> {
    let mut lines = said.lines().chain(errors.lines());
    let summary = lines.find_map(|line| line.strip_prefix("Summary - "))?;
    let count = |name: &str| -> Option<u64> {
        let cell = summary
            .split(", ")
            .find_map(|cell| cell.strip_prefix(name))?;
        cell.trim_start_matches(": ").parse().ok()
    };
    let failures = report
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|cells| cells.get(4) == Some(&"FAIL"))
        .map(|cells| cells[..cells.len().min(6)].join(" "))
        .collect();
    Some(Outcome {
        passed: count("PASS")?,
        warned: count("WARN")?,
        failed: count("FAIL")?,
        failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_in_colour_too() {
        let said = "+--+\n|     PASS     |     WARN     |     FAIL     |  NOT TESTED  |\n+--+\n\
                    |     \u{1b}[32m957\u{1b}[0m      |      1       |      \u{1b}[31m2\u{1b}[0m       |     1421     |\n+--+\n";
        let log = "t - redfish - INFO - Validating /redfish/v1/Systems...\n\
                   t - redfish - ERROR - FAIL - /X: bad\n\
                   t - redfish - ERROR - Failing the Reset test...\n\
                   t - redfish - ERROR - HTTP 409\nrest of it\n";
        let outcome = table(said, log).unwrap();
        assert_eq!(
            (outcome.passed, outcome.warned, outcome.failed),
            (957, 1, 2)
        );
        assert_eq!(
            outcome.failures,
            [
                "/redfish/v1/Systems /X: bad",
                "Failing the Reset test... HTTP 409"
            ]
        );
        assert!(table("no table", "").is_none());
    }

    #[test]
    fn the_protocol_report_is_read_by_its_columns() {
        let report = "Assertion\tMethod\tStatus code\tURI\tResult\tMessage\tRequirement\n\
                      A\tGET\t200\t/x\tFAIL\tno tag\tlong\nB\tGET\t200\t/y\tPASS\t\tFAIL\n";
        let said = "Summary - PASS: 342, WARN: 0, FAIL: 1, NOT_TESTED: 30\n";
        let outcome = protocol("", said, report).unwrap();
        assert_eq!((outcome.passed, outcome.failed), (342, 1));
        assert_eq!(outcome.failures, ["A GET 200 /x FAIL no tag"]);
        assert!(protocol("", "crashed", report).is_none());
    }
}
