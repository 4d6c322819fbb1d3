//! Whether the firmware checks what it boots, from its own variables.
//!
//! This is the operating system's account, to be set against what a BMC says and against what
//! was measured; it proves nothing by itself.

use serde::{Deserialize, Serialize};

use crate::{Fact, Root};

const VARIABLES: &str = "/sys/firmware/efi/efivars";
/// The namespace of variables that the UEFI specification defines.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// UEFI Secure Boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecureBoot {
    /// `SecureBoot`: only signed programs were started at this boot.
    pub enabled: Fact<bool>,
    /// `SetupMode`: no platform key is set, so whoever comes may set one.
    pub setup_mode: Fact<bool>,
    /// `DeployedMode`: the keys can be changed only with a platform key's signature.
    pub deployed_mode: Fact<bool>,
}

/// Reads it; a machine that did not boot by UEFI does not offer it.
pub fn secure_boot(root: &Root) -> Fact<SecureBoot> {
    match root.names(VARIABLES) {
        Fact::Known(names) if names.is_empty() => {
            Fact::NotRead(format!("{VARIABLES}: not mounted"))
        }
        Fact::Known(_) => Fact::Known(SecureBoot {
            enabled: flag(root, "SecureBoot"),
            setup_mode: flag(root, "SetupMode"),
            deployed_mode: flag(root, "DeployedMode"),
        }),
        Fact::NotOffered => Fact::NotOffered,
        Fact::NotRead(why) => Fact::NotRead(why),
    }
}

fn flag(root: &Root, name: &str) -> Fact<bool> {
    let path = format!("{VARIABLES}/{name}-{GLOBAL}");
    root.bytes(&path)
        .and_then(|bytes| match parse_flag(&bytes) {
            Some(flag) => Fact::Known(flag),
            None => Fact::NotRead(format!("{path}: not attributes and one byte")),
        })
}

/// Parses a variable as the kernel shows it: four bytes of attributes, then here one that is
/// zero or one.
pub fn parse_flag(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [_, _, _, _, 0] => Some(false),
        [_, _, _, _, 1] => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_the_variables_say() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(secure_boot(&root), Fact::NotOffered);
        let folder = dir.path().join(&VARIABLES[1..]);
        fs::create_dir_all(&folder).unwrap();
        assert!(matches!(secure_boot(&root), Fact::NotRead(why) if why.contains("mounted")));
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.join(format!("{name}-{GLOBAL}")), bytes).unwrap();
        };
        write("SecureBoot", &[6, 0, 0, 0, 1]);
        write("SetupMode", &[6, 0, 0, 0, 2]);
        let read = secure_boot(&root).known().unwrap();
        assert_eq!(read.enabled, Fact::Known(true));
        assert!(matches!(read.setup_mode, Fact::NotRead(why) if why.contains("SetupMode")));
        assert_eq!(read.deployed_mode, Fact::NotOffered);
        assert_eq!(parse_flag(&[1]), None);
        assert_eq!(parse_flag(&[0, 0, 0, 0, 0, 0]), None);
    }
}
