//! Installer images: equal inputs give equal bytes, and one slot for the seed.

use anyhow::Result;
use lockstep_lab::image::{self, Behaviour, InstallerSpec, seed};

#[test]
fn equal_inputs_give_equal_images_and_versions_differ() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = folder.path().join("agent");
    std::fs::write(&agent, "#!/bin/sh\n")?;
    let build_as = |kept: &str, version: &str, behaviour: Behaviour| {
        let spec = InstallerSpec {
            version: version.to_owned(),
            agent: agent.clone(),
            behaviour,
            slot: None,
        };
        image::installer_in(&folder.path().join(kept), &spec)
    };
    let build = |kept: &str, version: &str| build_as(kept, version, Behaviour::Installs);
    let one = build("a", "1")?;
    let again = build("b", "1")?;
    assert_ne!(one.path, again.path);
    assert_eq!(one.sha256, again.sha256);
    assert_ne!(one.sha256, build("a", "2")?.sha256);
    let mute = build_as("a", "1", Behaviour::InstallsMute)?;
    assert_ne!(one.sha256, mute.sha256);
    let system = build_as("a", "1", Behaviour::IsTheSystem)?;
    assert_ne!(one.sha256, system.sha256);

    let filled = folder.path().join("filled.iso");
    let seed = serde_json::json!({"token": "t"});
    seed::fill(&one.path, &filled, &seed)?;
    let (before, after) = (std::fs::read(&one.path)?, std::fs::read(&filled)?);
    let at = seed::find(&before)?;
    assert!(after[at..].starts_with(br#"{"token":"t"}   "#));
    assert!(before[..at] == after[..at]);
    assert!(before[at + seed::SIZE..] == after[at + seed::SIZE..]);
    assert!(seed::find(&after).is_err(), "the slot is used up");
    Ok(())
}

#[test]
fn an_agent_that_could_not_run_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = InstallerSpec {
        version: "1".to_owned(),
        agent: std::env::current_exe()?,
        behaviour: Behaviour::Installs,
        slot: None,
    };
    let refused = image::installer_in(folder.path(), &spec).unwrap_err();
    assert!(refused.to_string().contains("crt-static"), "{refused}");
    Ok(())
}

#[test]
fn the_scripts_say_what_the_constants_promise() {
    let says =
        |script: &str, line: &str| assert!(script.contains(&format!("say \"{line}")), "{line}");
    for line in [
        image::INSTALLER_START,
        image::INSTALLER_DONE,
        image::INSTALLER_HANGS,
    ] {
        says(include_str!("../assets/installer.sh"), line);
    }
    for line in [image::OS_UP, image::OS_MUTE, image::AGENT_EXIT] {
        says(include_str!("../assets/os.sh"), line);
    }
    says(include_str!("../assets/host.sh"), image::HOST_UP);
}
