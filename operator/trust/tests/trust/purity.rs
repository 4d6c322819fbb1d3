//! The judgement stays pure: nothing below it can reach a network, a runtime or a file.

use std::process::Command;

#[test]
fn nothing_below_trust_does_io() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "lockstep-trust",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"lockstep-crds"), "{tree}");
    for banned in [
        "tokio",
        "hyper",
        "reqwest",
        "kube-client",
        "rustls",
        "mio",
        "rand",
    ] {
        assert!(!names.contains(&banned), "{banned} is below trust");
    }
}
