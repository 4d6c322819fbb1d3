//! Objects that name what is not there, or what somebody else names too.

use lockstep_lab::MachineSpec;
use serde_json::json;

use crate::bad_input::act;
use crate::bad_input::case::{Bmcs, Bound, Case, Expect, Moment, Of, SOON, Then};

/// A card that may not be touched is only looked at.
const LOOKED_AT: Bound = Bound {
    bmc: 120,
    refused: None,
    image: 1,
};
const BOTH_CLAIM: [Expect; 2] = [
    Expect {
        of: Of::Card,
        reason: "IdentityConflict",
        says: &["both claim", "Delete one of the objects"],
    },
    Expect {
        of: Of::RivalCard,
        reason: "IdentityConflict",
        says: &["both claim", "Delete one of the objects"],
    },
];

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        name: "policy-missing",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|_stage, objects| {
            objects.keep_back(|objects| &mut objects.policy);
        }),
        expect: &[
            Expect {
                of: Of::Card,
                reason: "PolicyNotFound",
                says: &["policy-missing does not exist", "Create it"],
            },
            Expect {
                of: Of::Host,
                reason: "PolicyNotFound",
                says: &["policy-missing does not exist", "Create it"],
            },
        ],
        bound: LOOKED_AT,
        right: act!(|stage, objects| {
            stage.apply_these(&objects.kept_back).await?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "host-missing",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|_stage, objects| {
            objects.keep_back(|objects| &mut objects.host);
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "HostNotFound",
            says: &["host-missing does not exist", "Create the DpuHost"],
        }],
        bound: LOOKED_AT,
        right: act!(|stage, objects| {
            stage.apply_these(&objects.kept_back).await?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "one-bmc-twice",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, objects| {
            let rivals = stage.rivals(objects, &json!({"identity": null}));
            objects.more.extend(rivals);
        }),
        expect: &BOTH_CLAIM,
        bound: LOOKED_AT,
        right: act!(|stage, _objects| {
            stage
                .delete(&format!("dpu/{}", stage.rival()), true)
                .await?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "one-uuid-twice",
        when: Moment::Before,
        bmcs: Bmcs::Two,
        within: SOON,
        wrong: act!(|stage, objects| {
            let mut bmc = objects.card["spec"]["bmc"].clone();
            bmc["address"] = stage.world.bmc(&stage.rival())?.address.into();
            let rivals = stage.rivals(objects, &json!({"bmc": bmc}));
            objects.more.extend(rivals);
        }),
        expect: &BOTH_CLAIM,
        bound: LOOKED_AT,
        right: act!(|stage, _objects| {
            stage
                .delete(&format!("dpu/{}", stage.rival()), true)
                .await?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "one-serial-twice",
        when: Moment::Before,
        bmcs: Bmcs::Two,
        within: SOON,
        wrong: act!(|stage, objects| {
            let identity = json!({"serialNumber": "MT2334XZ0A1"});
            let mut bmc = objects.card["spec"]["bmc"].clone();
            bmc["address"] = stage.world.bmc(&stage.rival())?.address.into();
            let spec = json!({"bmc": bmc, "identity": identity});
            let rivals = stage.rivals(objects, &spec);
            objects.more.extend(rivals);
            objects.card["spec"]["identity"] = identity;
        }),
        expect: &BOTH_CLAIM,
        bound: LOOKED_AT,
        right: act!(|stage, _objects| {
            stage
                .delete(&format!("dpu/{}", stage.rival()), true)
                .await?;
        }),
        // The emulator's machines have no serial number: nobody claims it any
        // more, and nothing proves it either.
        then: Then::Judged("IdentityMismatch"),
    },
    Case {
        name: "one-node-twice",
        when: Moment::Before,
        bmcs: Bmcs::Two,
        within: SOON,
        wrong: act!(|stage, objects| {
            let node = "somebody-elses-node";
            objects.host = stage.server(objects)?;
            objects.host["spec"]["nodeName"] = node.into();
            let rival = stage.host(&stage.rival(), json!({"nodeName": node}));
            objects.more.push(rival);
        }),
        expect: &[
            Expect {
                of: Of::Host,
                reason: "IdentityConflict",
                says: &["nodeName somebody-elses-node", "Delete one of the objects"],
            },
            Expect {
                of: Of::RivalHost,
                reason: "IdentityConflict",
                says: &["nodeName somebody-elses-node", "Delete one of the objects"],
            },
            Expect {
                of: Of::Card,
                reason: "IdentityConflict",
                says: &["nodeName somebody-elses-node", "Delete one of the objects"],
            },
        ],
        bound: LOOKED_AT,
        right: act!(|stage, _objects| {
            stage
                .delete(&format!("dpuhost/{}", stage.rival()), true)
                .await?;
        }),
        then: Then::PowerOn,
    },
];

/// The machines that a case needs besides its card.
pub fn rival_of(case: &Case) -> Option<MachineSpec> {
    match case.bmcs {
        Bmcs::One | Bmcs::Tls => None,
        Bmcs::Two => Some(MachineSpec::host(&format!("{}-rival", case.name))),
    }
}
