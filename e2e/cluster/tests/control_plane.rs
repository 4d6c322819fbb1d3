//! The real thing: builds the tools if the cache does not hold them, and fails if it cannot.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{collections::BTreeMap, path::Path, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use lockstep_cluster::{ControlPlane, Helm, Lifetime, Look, Options, audit::tally, eventually};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_serves_is_watched_goes_back_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path().join("cp"));
    let mut plane = ControlPlane::start(options).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), "default");

    // It calls itself by its real version: clients compare it.
    let version = plane.client().apiserver_version().await.unwrap();
    assert_eq!(version.git_version, "v1.36.3");

    let mark = plane.audit_log().mark().unwrap();
    maps.create(&params("operator"), &map("kept", "1"))
        .await
        .unwrap();
    let write = eventually(SOON, "the ConfigMap in the audit log", async || {
        let writes = plane.audit_log().writes_since(mark).unwrap();
        match writes
            .into_iter()
            .find(|write| write.name.as_deref() == Some("kept"))
        {
            Some(write) => Look::Holds(write),
            None => Look::not_yet("other writes only"),
        }
    })
    .await
    .unwrap();
    assert_eq!((write.verb.as_str(), write.code), ("create", 201));
    assert_eq!(write.user, "admin");
    assert_eq!(write.field_manager.as_deref(), Some("operator"));
    assert_eq!(write.body.as_ref().unwrap()["data"]["value"], "1");
    assert_eq!(tally([&write]).len(), 1);

    // What a user does works too.
    let printed = plane
        .kubectl()
        .apply_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: by-hand}\n")
        .await
        .unwrap();
    assert_eq!(printed.trim(), "configmap/by-hand created");
    let refused = plane.kubectl().run(&["get", "nonsense"]).await.unwrap_err();
    assert!(format!("{refused:#}").contains("nonsense"));

    // Helm reaches it as well.
    let helm = Helm::new(&plane).await.unwrap();
    let listed = helm.run(&["list", "-A", "-o", "json"], SOON).await.unwrap();
    assert_eq!(listed.trim(), "[]");

    // An outage of the apiserver alone.
    plane.stop_apiserver().await.unwrap();
    assert!(maps.get("kept").await.is_err());
    plane.start_apiserver().await.unwrap();
    maps.get("kept").await.unwrap();

    // Back to an older state of the world, with the same URL and credentials.
    let snapshot = folder.path().join("snapshot.db");
    plane.snapshot(&snapshot).await.unwrap();
    maps.create(&params("operator"), &map("forgotten", "2"))
        .await
        .unwrap();
    maps.delete("kept", &DeleteParams::default()).await.unwrap();
    let (url, before) = (plane.url(), resource_version(&maps, "forgotten").await);
    plane.restart_from(&snapshot).await.unwrap();
    assert_eq!(plane.url(), url);
    assert!(maps.get_opt("forgotten").await.unwrap().is_none());
    maps.get("kept").await.unwrap();
    maps.create(&params("operator"), &map("after", "3"))
        .await
        .unwrap();
    assert!(
        resource_version(&maps, "after").await > before,
        "resource versions never go back, or watches would miss changes"
    );

    let state = plane.state().to_owned();
    assert!(!processes_of(&state).is_empty());
    plane.stop().await.unwrap();
    assert_eq!(processes_of(&state), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(state.join("pids")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_control_plane_is_protected_stopped_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("cp");
    let options = Options::new(&state)
        .without_controller_manager()
        .lifetime(Lifetime::UntilStopped);
    let plane = ControlPlane::start(options.clone()).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), "default");
    maps.create(&PostParams::default(), &map("kept", "1"))
        .await
        .unwrap();
    let url = plane.url();
    plane.detach().unwrap();

    let second = ControlPlane::start(options.clone()).await.unwrap_err();
    assert!(second.to_string().contains("already runs"), "{second:#}");

    let stopped = ControlPlane::stop_recorded(&state).unwrap();
    assert_eq!(stopped, ["kube-apiserver", "etcd"]);
    assert_eq!(processes_of(&state), Vec::<String>::new());
    assert!(ControlPlane::stop_recorded(&state).unwrap().is_empty());

    let plane = ControlPlane::start(options).await.unwrap();
    assert_eq!(plane.url(), url);
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), "default");
    maps.get("kept").await.unwrap();
    drop(plane);
    assert_eq!(processes_of(&state), Vec::<String>::new());
}

fn params(manager: &str) -> PostParams {
    PostParams {
        field_manager: Some(manager.to_owned()),
        ..PostParams::default()
    }
}

fn map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("value".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

async fn resource_version(maps: &Api<ConfigMap>, name: &str) -> u64 {
    let object = maps.get(name).await.unwrap();
    object.metadata.resource_version.unwrap().parse().unwrap()
}

/// Command lines of all processes that mention the state folder.
fn processes_of(state: &Path) -> Vec<String> {
    let state = state.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(state))
        .collect()
}
