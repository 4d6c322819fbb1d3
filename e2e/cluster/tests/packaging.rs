//! What users install, on a real API server: the kustomize bases and samples as they are, and
//! the charts from install to uninstall. There is no node here: Pods are not started.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first surprise"
)]

use std::{path::PathBuf, time::Duration};

use lockstep_cluster::{ControlPlane, Helm, Kubectl, Options};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

fn workspace(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(path).to_str().unwrap().to_owned()
}

/// `kubectl apply`, in which a warning, of Pod security or a deprecation, is an error.
async fn apply(kubectl: &Kubectl, how: &str, path: &str) -> String {
    let path = workspace(path);
    let args = ["apply", "--warnings-as-errors", how, path.as_str()];
    match kubectl.run(&args).await {
        Ok(said) => said,
        Err(error) => panic!("{path}: {error:#}"),
    }
}

async fn get(kubectl: &Kubectl, args: &[&str]) -> Value {
    let mut all = vec!["get", "-o", "json"];
    all.extend(args);
    serde_json::from_str(&kubectl.run(&all).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bases_and_samples_are_accepted_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start(Options::new(folder.path().join("cp")))
        .await
        .unwrap();
    let kubectl = plane.kubectl();
    apply(&kubectl, "-k", "config/default").await;
    kubectl.wait_for_crds().await.unwrap();
    apply(&kubectl, "-k", "config/site").await;
    for entry in std::fs::read_dir(workspace("config/samples")).unwrap() {
        let path = entry.unwrap().path();
        let path = path.to_str().unwrap();
        kubectl
            .run(&[
                "apply",
                "--warnings-as-errors",
                "--validate=strict",
                "-f",
                path,
            ])
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:#}"));
    }
    // Again, and nothing changes: no default of the server fights what we wrote.
    for base in ["config/default", "config/site"] {
        let said = apply(&kubectl, "-k", base).await;
        let changed: Vec<&str> = said
            .lines()
            .filter(|line| !line.ends_with("unchanged"))
            .collect();
        assert!(changed.is_empty(), "{base}: {changed:#?}");
    }
    // Agents on its hosts, in a namespace of their own: the site's stays as strict as it was.
    apply(&kubectl, "-k", "config/host-agent").await;
    let said = apply(&kubectl, "-k", "config/host-agent").await;
    let settled = said.lines().all(|line| line.ends_with("unchanged"));
    assert!(settled, "config/host-agent: {said}");
    let pods = get(
        &kubectl,
        &[
            "daemonset",
            "lockstep-host-agent",
            "-n",
            "site-example-hosts",
        ],
    )
    .await;
    let pod = &pods["spec"]["template"]["spec"];
    sees_no_more_than_it_reads(pod);
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    admitted(&kubectl, "site-example-hosts", pod).await;
    not_admitted(&kubectl, "site-example", pod).await;
    // What a user looks at.
    let hosts = kubectl
        .run(&["get", "dpuh,dpu,dpuimg,dpubp", "-n", "site-example"])
        .await
        .unwrap();
    assert!(hosts.contains("NAME") && hosts.contains("PHASE") && hosts.contains("node7-slot2"));
    let all = kubectl
        .run(&["get", "xpu", "-n", "site-example", "-o", "name"])
        .await
        .unwrap();
    assert!(all.lines().count() >= 10, "{all}");
    let of_site = [
        "get",
        "dpu",
        "-n",
        "site-example",
        "--field-selector=spec.site=example",
        "-o",
        "name",
    ];
    assert!(kubectl.run(&of_site).await.unwrap().lines().count() >= 4);
    let explained = kubectl.run(&["explain", "dpu.status.phase"]).await.unwrap();
    assert!(explained.contains("Known values"), "{explained}");
}

/// Of the host there are the folders that it reads, and they cannot be written: neither `/proc`,
/// where every process can be looked at, nor control groups nor devices.
fn sees_no_more_than_it_reads(pod: &Value) {
    let paths: Vec<&str> = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| volume["hostPath"]["path"].as_str().unwrap())
        .collect();
    let read = [
        "/sys/block",
        "/sys/bus",
        "/sys/class",
        "/sys/devices",
        "/sys/firmware",
        "/etc/os-release",
    ];
    assert_eq!(paths, read);
    let container = &pod["containers"][0];
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts.len(), read.len(), "{mounts:#?}");
    for mount in mounts {
        assert_eq!(mount["readOnly"], true, "{mount}");
        assert_eq!(mount["recursiveReadOnly"], "IfPossible", "{mount}");
    }
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(pod["hostPID"], Value::Null);
}

/// Pod security lets such a Pod in, now and without a warning.
async fn admitted(kubectl: &Kubectl, namespace: &str, pod: &Value) {
    if let Err(error) = try_pod(kubectl, namespace, pod).await {
        panic!("{namespace}: {error}");
    }
}

/// Pod security keeps such a Pod out.
async fn not_admitted(kubectl: &Kubectl, namespace: &str, pod: &Value) {
    let mut pod = pod.clone();
    // There is none of that name, which would be refused first.
    pod["serviceAccountName"] = "default".into();
    let said = try_pod(kubectl, namespace, &pod).await.unwrap_err();
    assert!(said.contains("violates PodSecurity \"restricted"), "{said}");
}

async fn try_pod(kubectl: &Kubectl, namespace: &str, pod: &Value) -> Result<String, String> {
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "probe", "namespace": namespace}, "spec": pod,
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pod.json");
    std::fs::write(&file, pod.to_string()).unwrap();
    let args = ["create", "--dry-run=server", "--warnings-as-errors", "-f"];
    let mut args = args.to_vec();
    args.push(file.to_str().unwrap());
    let said = kubectl.run(&args).await;
    said.map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_install_upgrade_and_leave_objects_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start(Options::new(folder.path().join("cp")))
        .await
        .unwrap();
    let (kubectl, helm) = (plane.kubectl(), Helm::new(&plane).await.unwrap());
    let (crds, lockstep) = (
        workspace("charts/lockstep-crds"),
        workspace("charts/lockstep"),
    );
    let values = workspace("charts/lockstep/ci/two-sites-values.yaml");
    kubectl
        .run(&["create", "namespace", "provisioning"])
        .await
        .unwrap();
    let helm = async |args: &[&str]| {
        let mut all = vec!["-n", "provisioning"];
        all.extend(args);
        helm.run(&all, SOON).await
    };

    helm(&["lint", "--strict", &lockstep, "-f", &values])
        .await
        .unwrap();
    helm(&["install", "crds", &crds]).await.unwrap();
    kubectl.wait_for_crds().await.unwrap();
    kubectl
        .run(&["create", "namespace", "site-paris"])
        .await
        .unwrap();
    helm(&["install", "lockstep", &lockstep, "-f", &values])
        .await
        .unwrap();

    // The policies name the operator where it really is.
    let policy = ["validatingadmissionpolicy", "lockstep-status-writers"];
    let policy = get(&kubectl, &policy).await.to_string();
    assert!(policy.contains("system:serviceaccount:provisioning:lockstep-operator"));
    assert!(!policy.contains("lockstep-system"));

    // The two sites differ as their values do.
    let paris = ["deployment", "lockstep-site-agent", "-n", "site-paris"];
    let paris = get(&kubectl, &paris).await["spec"]["template"]["spec"].clone();
    assert_eq!(paris["nodeSelector"]["site"], "paris");
    assert_eq!(paris["volumes"][1]["emptyDir"]["sizeLimit"], "30Gi");
    assert_eq!(
        paris["volumes"][2]["persistentVolumeClaim"]["claimName"],
        "kept"
    );
    let claims = get(&kubectl, &["pvc", "-A"]).await;
    assert_eq!(claims["items"].as_array().unwrap().len(), 2, "{claims:#}");

    // Hosts of one site have an agent, with what its values give it; the other site's have none.
    let agents = get(&kubectl, &["daemonset", "-A"]).await;
    let [agent] = &agents["items"].as_array().unwrap()[..] else {
        panic!("{agents:#}")
    };
    assert_eq!(agent["metadata"]["namespace"], "site-berlin-hosts");
    let pod = &agent["spec"]["template"]["spec"];
    sees_no_more_than_it_reads(pod);
    let container = &pod["containers"][0];
    assert_eq!(pod["nodeSelector"]["site"], "berlin");
    assert_eq!(
        container["securityContext"]["capabilities"]["add"][0],
        "SYS_ADMIN"
    );
    assert_eq!(container["ports"][0]["containerPort"], 9811);
    assert_eq!(container["args"][1], "--namespace=site-berlin");
    admitted(&kubectl, "site-berlin-hosts", pod).await;
    not_admitted(&kubectl, "site-berlin", pod).await;
    let binding = ["rolebinding", "lockstep-host-agent", "-n", "site-berlin"];
    let binding = get(&kubectl, &binding).await;
    assert_eq!(binding["subjects"][0]["namespace"], "site-berlin-hosts");

    // A change of the configuration changes the Pod.
    let checksum = async || {
        let agent = ["deployment", "lockstep-site-agent", "-n", "site-berlin"];
        let agent = get(&kubectl, &agent).await;
        agent["spec"]["template"]["metadata"]["annotations"]["checksum/config"].to_string()
    };
    let before = checksum().await;
    let set = "sites[0].poll.idleSeconds=120";
    helm(&[
        "upgrade", "lockstep", &lockstep, "-f", &values, "--set", set,
    ])
    .await
    .unwrap();
    assert_ne!(checksum().await, before);

    // What cannot work is refused before anything is changed, with a reason.
    for (set, says) in [
        ("sites[0].namespace=site-paris", "share namespace"),
        ("sites[0].namespace=provisioning", "operator's namespace"),
        ("sites[0].allowedNetworks=null", "allowedNetworks"),
        ("sites[0].xpu.apiServer=http://10.0.0.1", "apiServer"),
        ("sites[0].surprise=1", "surprise"),
        ("operator.logFormat=xml", "logFormat"),
        ("sites[0].store.service.type=ClusterIP", "nodePort"),
        ("sites[0].hostAgent.access=Everything", "access"),
        (
            "sites[1].namespace=site-berlin-hosts",
            "no room for host agents",
        ),
        (
            "sites[0].namespace=a-site-with-a-name-that-is-nearly-as-long-as-a-name-can-be",
            "longer than 63",
        ),
        (
            "sites[1].hostAgent.enabled=true",
            "a host belongs to one site",
        ),
    ] {
        let args = [
            "upgrade", "lockstep", &lockstep, "-f", &values, "--set", set,
        ];
        let error = format!("{:#}", helm(&args).await.unwrap_err());
        assert!(error.contains(says), "{set}: {error}");
    }

    let host = "
apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuHost
metadata: {name: host1, namespace: site-berlin}
spec: {policyRef: {name: p}}
";
    kubectl.apply_text(host).await.unwrap();
    for release in ["lockstep", "crds"] {
        helm(&["uninstall", release]).await.unwrap();
    }
    let left = get(&kubectl, &["dpuhost", "host1", "-n", "site-berlin"]).await;
    assert_eq!(left["metadata"]["name"], "host1");
    let gone = kubectl
        .run(&["get", "deployment", "-A", "-o", "name"])
        .await
        .unwrap();
    assert_eq!(gone.trim(), "");
}

/// What a site agent needs to end a hold.
const OF_A_SITE: &str = "deployment/lockstep-site-agent,serviceaccount/lockstep-site-agent,\
    rolebinding/lockstep-site-agent,rolebinding/lockstep-xpu-agent,\
    configmap/lockstep-site-agent,service/lockstep-image-store";

#[tokio::test(flavor = "multi_thread")]
async fn a_site_with_a_held_host_stays_when_it_is_taken_out_of_the_values() {
    let folder = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start(Options::new(folder.path().join("cp")))
        .await
        .unwrap();
    let (kubectl, helm) = (plane.kubectl(), Helm::new(&plane).await.unwrap());
    let lockstep = workspace("charts/lockstep");
    let both = workspace("charts/lockstep/ci/two-sites-values.yaml");
    let one = folder.path().join("one.yaml");
    let mut values: serde_json::Value =
        serde_yaml::from_str(&std::fs::read_to_string(&both).unwrap()).unwrap();
    // A namespace of digits is a text as well.
    values["sites"][1]["namespace"] = "456".into();
    let two = folder.path().join("two.yaml");
    std::fs::write(&two, values.to_string()).unwrap();
    values["sites"].as_array_mut().unwrap().remove(0);
    std::fs::write(&one, values.to_string()).unwrap();
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    for namespace in ["123", "456"] {
        let args = ["create", "namespace", namespace];
        kubectl.run(&args).await.unwrap();
    }
    let helm = async |args: &[&str]| {
        let mut all = vec!["-n", "123"];
        all.extend(args);
        helm.run(&all, SOON).await
    };
    let of_berlin = async || -> Vec<String> {
        let get: Vec<&str> = OF_A_SITE.split(',').collect();
        let mut args = vec![
            "get",
            "-n",
            "site-berlin",
            "--ignore-not-found",
            "-o",
            "name",
        ];
        args.extend(get);
        let listed = kubectl.run(&args).await.unwrap();
        listed.lines().map(str::to_owned).collect()
    };
    let crds = workspace("charts/lockstep-crds");
    helm(&["install", "crds", &crds]).await.unwrap();
    kubectl.wait_for_crds().await.unwrap();
    helm(&["install", "lockstep", &lockstep, "-f", two])
        .await
        .unwrap();
    assert_eq!(of_berlin().await.len(), 6);
    let host = "
apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuHost
metadata: {name: host1, namespace: site-berlin}
spec: {policyRef: {name: p}}
";
    kubectl.apply_text(host).await.unwrap();
    let status = async |patch: &str| {
        let mut args = vec!["patch", "dpuhost", "host1", "-n", "site-berlin"];
        args.extend(["--subresource=status", "--type=merge", "-p", patch]);
        kubectl.run(&args).await.unwrap()
    };
    status(
        r#"{"status":{"hold":{"mechanism":"PoweredOff","state":"PoweredOff",
            "since":"2026-01-01T00:00:00Z","deadline":"2026-01-01T01:00:00Z"}}}"#,
    )
    .await;

    // A new binding is in force a moment after it is written.
    let upgrade = ["upgrade", "lockstep", &lockstep, "-f", one];
    let mut refused = String::new();
    for object in OF_A_SITE.split(',') {
        let args = ["delete", object, "-n", "site-berlin", "--dry-run=server"];
        let deadline = std::time::Instant::now() + SOON;
        refused = loop {
            match kubectl.run(&args).await {
                Err(error) => break format!("{error:#}"),
                Ok(_) => assert!(std::time::Instant::now() < deadline, "{object} may go"),
            }
        };
        assert!(refused.contains("host1"), "{object}: {refused}");
    }
    assert!(refused.contains("lockstep-held-hosts"), "{refused}");
    let error = format!("{:#}", helm(&upgrade).await.unwrap_err());
    assert!(
        error.contains("host host1 in namespace site-berlin is held"),
        "{error}"
    );
    assert_eq!(of_berlin().await.len(), 6, "{error}");

    // What ends a namespace deletes whole collections, and is not stopped.
    let all = "/api/v1/namespaces/site-berlin/configmaps";
    kubectl.run(&["delete", "--raw", all]).await.unwrap();
    assert_eq!(of_berlin().await.len(), 5);

    status(r#"{"status":{"hold":null}}"#).await;
    helm(&upgrade).await.unwrap();
    assert!(of_berlin().await.is_empty());

    // A site whose namespace is gone is in the way of an uninstall; the next upgrade makes good.
    kubectl
        .run(&["delete", "namespace", "456", "--timeout=60s"])
        .await
        .unwrap();
    let error = format!("{:#}", helm(&["uninstall", "lockstep"]).await.unwrap_err());
    assert!(error.contains("456"), "{error}");
    kubectl.run(&["create", "namespace", "456"]).await.unwrap();
    helm(&["uninstall", "lockstep"]).await.unwrap();
}
