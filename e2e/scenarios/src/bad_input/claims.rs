//! Objects that name what is not there, or what somebody else names too.

use lockstep_lab::MachineSpec;
use serde_json::json;

use crate::bad_input::act;
use crate::bad_input::case::{Bmcs, Case, Expect, LOOKED_AT, Of, Setting, Then, USUAL};
use crate::bad_input::repairs::{APPLY_KEPT_BACK, DELETE_RIVAL};

const BOTH_CLAIM: [Expect; 1] = [Expect {
    of: &[Of::Card, Of::RivalCard],
    reason: "IdentityConflict",
    says: ["both claim", "Delete one of the objects"],
}];

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        name: "policy-missing",
        setting: USUAL,
        wrong: act!(|_stage, objects| {
            objects.keep_back(|objects| &mut objects.policy);
        }),
        expect: &[Expect {
            of: &[Of::Card, Of::Host],
            reason: "PolicyNotFound",
            says: ["policy-missing does not exist", "Create it"],
        }],
        bound: LOOKED_AT,
        right: APPLY_KEPT_BACK,
    },
    Case {
        name: "host-missing",
        setting: USUAL,
        wrong: act!(|_stage, objects| {
            objects.keep_back(|objects| &mut objects.host);
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "HostNotFound",
            says: ["host-missing does not exist", "Create the DpuHost"],
        }],
        bound: LOOKED_AT,
        right: APPLY_KEPT_BACK,
    },
    Case {
        name: "one-bmc-twice",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            let rivals = stage.rivals(objects, &json!({"identity": null}));
            objects.more.extend(rivals);
        }),
        expect: &BOTH_CLAIM,
        bound: LOOKED_AT,
        right: DELETE_RIVAL,
    },
    Case {
        name: "one-uuid-twice",
        setting: Setting {
            bmcs: Bmcs::Two,
            ..USUAL
        },
        wrong: act!(|stage, objects| {
            let (bmc, _) = stage.other_bmc(objects)?;
            let rivals = stage.rivals(objects, &json!({"bmc": bmc}));
            objects.more.extend(rivals);
        }),
        expect: &BOTH_CLAIM,
        bound: LOOKED_AT,
        right: DELETE_RIVAL,
    },
    Case {
        name: "one-serial-twice",
        setting: Setting {
            bmcs: Bmcs::Two,
            // The emulator's machines have no serial number: nobody claims it any
            // more, and nothing proves it either.
            then: Then::Judged("IdentityMismatch"),
            ..USUAL
        },
        wrong: act!(|stage, objects| {
            let identity = json!({"serialNumber": "MT2334XZ0A1"});
            let (bmc, _) = stage.other_bmc(objects)?;
            let rivals = stage.rivals(objects, &json!({"bmc": bmc, "identity": identity}));
            objects.more.extend(rivals);
            objects.card["spec"]["identity"] = identity;
        }),
        expect: &BOTH_CLAIM,
        bound: LOOKED_AT,
        right: DELETE_RIVAL,
    },
    Case {
        name: "one-node-twice",
        setting: Setting {
            bmcs: Bmcs::Two,
            ..USUAL
        },
        wrong: act!(|stage, objects| {
            let node = "somebody-elses-node";
            objects.host = stage.server(objects)?;
            objects.host["spec"]["nodeName"] = node.into();
            let rival = stage.host(&stage.rival(), json!({"nodeName": node}));
            objects.more.push(rival);
        }),
        expect: &[Expect {
            of: &[Of::Host, Of::RivalHost, Of::Card],
            reason: "IdentityConflict",
            says: ["nodeName somebody-elses-node", "Delete one of the objects"],
        }],
        bound: LOOKED_AT,
        right: act!(|stage, _objects| {
            stage
                .delete(&format!("dpuhost/{}", stage.rival()), true)
                .await?;
        }),
    },
];

/// The machines that a case needs besides its card.
pub fn rival_of(case: &Case) -> Option<MachineSpec> {
    match case.setting.bmcs {
        Bmcs::One | Bmcs::Tls => None,
        Bmcs::Two => Some(MachineSpec::host(&format!("{}-rival", case.name))),
    }
}
