//! A pod on a real node: built without a daemon, run by kubelet and runc, seen from outside.
//! Needs root, and fails without it.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{path::Path, time::Duration};

use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use lockstep_cluster::{ControlPlane, Image, Look, Node, Options, build_image, eventually};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpListener};

const POD_DEADLINE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_reaches_apiserver_and_machine_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start(Options::new(folder.path().join("cp")))
        .await
        .unwrap();
    let mut node = Node::start(&plane).await.unwrap();
    let nodes: Api<NodeObject> = Api::all(plane.client());
    let object = nodes.get(node.name()).await.unwrap();
    let system = object.status.unwrap().node_info.unwrap();
    assert_eq!(system.system_uuid, node.system_uuid());

    let image = "lockstep.test/busybox:1";
    let archive = folder.path().join("busybox.tar");
    build_busybox(image, folder.path(), &archive).await;
    node.import_image(&archive).await.unwrap();

    // A service on the machine's loopback that pods are let through to.
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = service.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = service.accept().await {
            client.write_all(b"hello from the machine\n").await.unwrap();
        }
    });
    let published = node.publish(target.port(), target).await.unwrap();

    let script = format!(
        "/busybox nc -w 5 {} {} </dev/null && \
         /busybox nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null && \
         /busybox test -s /var/run/secrets/kubernetes.io/serviceaccount/token && \
         echo all reached",
        published.ip(),
        published.port()
    );
    let pods: Api<Pod> = Api::namespaced(plane.client(), "default");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "visitor" },
        "spec": {
            "restartPolicy": "Never",
            "securityContext": { "runAsUser": 65532, "runAsNonRoot": true },
            "containers": [{
                "name": "visitor",
                "image": image,
                "imagePullPolicy": "Never",
                "command": ["/busybox", "sh", "-c", script],
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                    "seccompProfile": { "type": "RuntimeDefault" },
                },
            }],
        },
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let end = eventually(POD_DEADLINE, "the end of the pod", async || {
        let status = pods.get("visitor").await.unwrap().status.unwrap();
        match status.phase.as_deref() {
            Some(phase @ ("Succeeded" | "Failed")) => Look::Holds(phase.to_owned()),
            _ => Look::not_yet(format!("{status:?}")),
        }
    })
    .await
    .unwrap();
    // Through the apiserver to kubelet and back.
    let log = plane.kubectl().run(&["logs", "visitor"]).await.unwrap();
    assert_eq!(
        (end.as_str(), log.as_str()),
        ("Succeeded", "hello from the machine\nall reached\n")
    );

    pods.delete("visitor", &DeleteParams::default())
        .await
        .unwrap();
    eventually(POD_DEADLINE, "the deletion of the pod", async || match pods
        .get_opt("visitor")
        .await
        .unwrap()
    {
        None => Look::Holds(()),
        Some(_) => Look::not_yet("it is still there"),
    })
    .await
    .unwrap();

    let (name, address) = (node.name().to_owned(), node.host_address());
    node.check().unwrap();
    node.stop().await.unwrap();
    for (what, text) in [
        (
            "mounts",
            std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        ),
        (
            "routes",
            std::fs::read_to_string("/proc/net/fib_trie").unwrap(),
        ),
    ] {
        assert!(
            !text.contains(&address.to_string()),
            "{what} are left:\n{text}"
        );
        assert!(
            !text.contains(plane.state().to_str().unwrap()),
            "{what} are left"
        );
    }
    assert!(!left_in_cgroups(&name));
    plane.stop().await.unwrap();
}

async fn build_busybox(name: &str, folder: &Path, archive: &Path) {
    let context = folder.join("image");
    std::fs::create_dir(&context).unwrap();
    std::fs::copy("/bin/busybox", context.join("busybox")).unwrap();
    std::fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nCOPY busybox /busybox\nENTRYPOINT [\"/busybox\"]\n",
    )
    .unwrap();
    let image = Image {
        context: &context,
        target: None,
        name,
    };
    build_image(image, &folder.join("images"), archive)
        .await
        .unwrap();
}

fn left_in_cgroups(name: &str) -> bool {
    std::fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .any(|hierarchy| hierarchy.unwrap().path().join(name).exists())
        || Path::new("/sys/fs/cgroup").join(name).exists()
}
