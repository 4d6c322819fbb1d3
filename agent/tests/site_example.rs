//! The example in `config/site` is a configuration of this agent.

use std::path::Path;

use lockstep_agent::config::SiteConfig;

#[test]
fn the_example_is_read_and_says_what_the_manifests_beside_it_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/site");
    let config = SiteConfig::load(&folder.join("site.yaml")).unwrap();
    let manifests = std::fs::read_to_string(folder.join("agent.yaml")).unwrap();
    for path in [&config.store.dir, &config.state_dir] {
        let mount = format!("mountPath: {}\n", path.display());
        assert!(manifests.contains(&mount), "no {mount}");
    }
    for port in [config.store.listen.port(), config.health.port()] {
        let port = format!("containerPort: {port}\n");
        assert!(manifests.contains(&port), "no {port}");
    }
    let node_port = format!("nodePort: {}\n", config.store.advertise_url.port().unwrap());
    assert!(manifests.contains(&node_port), "no {node_port}");
    let group = format!("name: system:serviceaccounts:{}\n", config.namespace);
    assert!(manifests.contains(&group), "no {group}");
}
