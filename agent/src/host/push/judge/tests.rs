use super::*;
use crate::host::push::tests::machine_at;
use crate::site::samples::directive as sample;
use lockstep_crds::directive::RshimExpects;
use lockstep_local::rshim::parse_misc;
use lockstep_local::{Root, pci};
use serde_json::json;

const SERIAL: &str = "MT2333X00001";
const MISC: &str = "\
BF_MODE         DPU mode
DROP_MODE       0 (0:normal, 1:drop)
DEV_NAME        pcie-0000:03:00.2
DEV_INFO        BlueField-3(Rev 1)
SECURE_NIC_MODE 0 (0:no, 1:yes)
";

fn host() -> DpuHost {
    serde_json::from_value(json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuHost",
        "metadata": {"name": "h1"},
        "spec": {
            "policyRef": {"name": "p"}, "identity": {"serialNumber": "H1"},
            "trustDomain": "Trusted", "nodeName": "node1",
        },
    }))
    .unwrap()
}

fn machine(serial: &str) -> MachineIdentity {
    MachineIdentity {
        system_uuid: None,
        serial_number: Some(serial.to_owned()),
    }
}

fn push() -> Directive {
    let mut push = sample(1, "PushImage");
    push.expects.identity = machine(SERIAL);
    push.expects.power = Some(PowerState::On);
    push.expects.safe_stage = true;
    push.expects.rshim = Some(RshimExpects {
        name: "rshim0".to_owned(),
        serial_number: Some(SERIAL.to_owned()),
        device_serial: None,
    });
    push
}

fn bmc() -> DpuReportSpec {
    serde_json::from_value(json!({
        "vantage": "CardBmc", "subject": "c1", "subjectUid": "uid-1", "agentVersion": "1",
        "observedAt": "2026-01-01T00:00:00Z",
        "reachable": {"ok": true, "since": "2026-01-01T00:00:00Z"},
        "bmc": {
            "identity": {"serialNumber": SERIAL}, "power": "On", "stage": "OsRunning",
            "stageKnowledge": "Known", "media": {"owner": "Nobody"},
            "capabilities": {
                "virtualMedia": "Offered", "sessions": "Offered", "bootProgress": "Offered",
                "powerRestorePolicy": "Offered",
            },
        },
    }))
    .unwrap()
}

/// Everything that the judgement rests on, in one piece that a test can spoil.
struct Facts {
    host: DpuHost,
    machine: MachineIdentity,
    cards: Vec<Card>,
    misc: String,
    bmc: Option<DpuReportSpec>,
    push: Directive,
}

fn judged(spoil: impl FnOnce(&mut Facts)) -> Result<u8, String> {
    let dir = tempfile::tempdir().unwrap();
    machine_at(dir.path());
    let root = Root::new(dir.path());
    let Fact::Known(functions) = pci::functions(&root) else {
        panic!("no functions");
    };
    let mut facts = Facts {
        host: host(),
        machine: machine(" H1 "),
        cards: pci::cards(&root, &functions.found),
        misc: MISC.to_owned(),
        bmc: Some(bmc()),
        push: push(),
    };
    spoil(&mut facts);
    let seen = Seen {
        host: &facts.host,
        machine: &facts.machine,
        cards: &facts.cards,
        settings: &parse_misc(&facts.misc),
        bmc: facts.bmc.as_ref(),
    };
    check(&facts.push, seen).map_err(|refusal| refusal.reason)
}

fn in_bmc(facts: &mut Facts, change: impl FnOnce(&mut BmcReport)) {
    change(facts.bmc.as_mut().unwrap().bmc.as_mut().unwrap());
}

#[test]
fn what_is_as_it_was_planned_goes_on() {
    assert_eq!(judged(|_| {}), Ok(3));
    assert_eq!(
        judged(|f| in_bmc(f, |bmc| {
            bmc.stage = None;
            bmc.stage_knowledge = Knowledge::NotOffered;
        })),
        Ok(3)
    );
}

#[test]
fn every_ground_for_refusal_has_its_reason() {
    type Spoil = fn(&mut Facts);
    let grounds: [(&str, Spoil); 19] = [
        ("HandsOff", |f| f.host.spec.hands_off = true),
        ("Unsupported", |f| {
            f.host.spec.trust_domain = TrustDomain::Isolated;
        }),
        ("Withdrawn", |f| {
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            f.host.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        }),
        ("NodeNotNamed", |f| f.host.spec.node_name = None),
        ("IdentityNotGiven", |f| f.host.spec.identity = None),
        ("IdentityMismatch", |f| f.machine = machine("H2")),
        ("RshimGivenAway", |f| {
            f.misc = MISC.replace("DROP_MODE       0", "DROP_MODE       1");
        }),
        ("Unsupported", |f| {
            f.misc = MISC.replace("SECURE_NIC_MODE 0", "SECURE_NIC_MODE 1");
        }),
        ("Unsupported", |f| {
            f.misc = MISC.replace("DPU mode", "NIC mode");
        }),
        ("IdentityMismatch", |f| f.push.expects.rshim = None),
        ("IdentityMismatch", |f| {
            f.misc = MISC.replace(":03:", ":04:");
        }),
        ("IdentityMismatch", |f| {
            let rshim = f.push.expects.rshim.as_mut().unwrap();
            rshim.serial_number = Some("MT0".to_owned());
        }),
        ("IdentityMismatch", |f| {
            let rshim = f.push.expects.rshim.as_mut().unwrap();
            rshim.serial_number = None;
        }),
        ("FactsNotRead", |f| f.bmc = None),
        ("FactsNotRead", |f| {
            f.bmc.as_mut().unwrap().subject_uid = "uid-2".to_owned();
        }),
        ("IdentityMismatch", |f| {
            in_bmc(f, |bmc| bmc.identity = machine("X"));
        }),
        ("PowerStateUnexpected", |f| {
            in_bmc(f, |bmc| bmc.power = Some(PowerState::Off));
        }),
        ("StageForbids", |f| {
            in_bmc(f, |bmc| bmc.stage = Some("OsCrashDumping".into()));
        }),
        ("CardUnknown", |f| {
            f.misc = MISC.replace("BlueField-3", "Octopus");
        }),
    ];
    for (reason, spoil) in grounds {
        assert_eq!(judged(spoil), Err(reason.to_owned()));
    }
    assert_eq!(
        judged(|f| in_bmc(f, |bmc| bmc.stage_knowledge = Knowledge::NotRead)),
        Err("StageNotRead".to_owned())
    );
}
