//! BMCs that do not answer, answer rubbish, or do not take what they are offered.

use lockstep_lab::front::{Fault, Rule};
use serde_json::json;

use crate::bad_input::act;
use crate::bad_input::case::{
    Bmcs, Bound, Case, Expect, LOOKED_AT, Moment, Of, SLOWLY, Setting, USUAL,
};
use crate::bad_input::repairs::{APPLY_KEPT_BACK, CLEAR_RULES};

/// Three tries a look, with growing pauses between looks.
const FAILING: Bound = Bound {
    bmc: 40,
    refused: None,
    image: 1,
};
/// Two tries with a refused value, each after a look without any, and then none.
const REFUSED: Bound = Bound {
    bmc: 0,
    refused: Some(4),
    image: 1,
};
/// Of a BMC that takes no effect more is read.
const TRIED: Bound = Bound {
    bmc: 160,
    refused: None,
    image: 1,
};
/// Nothing is asked of a BMC that cannot be used.
const UNASKED: Bound = Bound {
    bmc: 0,
    refused: None,
    image: 1,
};

fn answer(status: u16, body: &str) -> Fault {
    Fault::Answer {
        status,
        body: body.to_owned(),
    }
}

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        name: "bmc-never-answers",
        setting: Setting {
            within: SLOWLY,
            ..USUAL
        },
        wrong: act!(|stage, _objects| {
            stage.bmc.add_rule(Rule::all(Fault::Hang));
        }),
        expect: &[Expect {
            of: &[Of::Card, Of::Host],
            reason: "BmcUnreachable",
            says: ["NoAnswer", "Check the BMC's power"],
        }],
        bound: FAILING,
        right: CLEAR_RULES,
    },
    Case {
        name: "bmc-unreachable",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            stage.bmc.refuse_connections(true);
        }),
        expect: &[Expect {
            of: &[Of::Card, Of::Host],
            reason: "BmcUnreachable",
            says: ["Unreachable", "Check the BMC's power"],
        }],
        bound: UNASKED,
        right: act!(|stage, _objects| {
            stage.bmc.refuse_connections(false);
        }),
    },
    Case {
        name: "host-bmc-unreachable",
        setting: Setting {
            bmcs: Bmcs::Two,
            ..USUAL
        },
        wrong: act!(|stage, objects| {
            objects.host = stage.server(objects)?;
            let host = stage.world.machines.bmc(&stage.rival())?;
            host.refuse_connections(true);
        }),
        expect: &[Expect {
            of: &[Of::Host, Of::Card],
            reason: "BmcUnreachable",
            says: ["dpuhost/host-bmc-unreachable", "Check the BMC's power"],
        }],
        bound: LOOKED_AT,
        right: act!(|stage, _objects| {
            let host = stage.world.machines.bmc(&stage.rival())?;
            host.refuse_connections(false);
        }),
    },
    Case {
        name: "bmc-500",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            stage.bmc.add_rule(Rule::all(answer(500, "{}")));
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "BmcUnreachable",
            says: ["HTTP 500", "Check the BMC's power"],
        }],
        bound: FAILING,
        right: CLEAR_RULES,
    },
    Case {
        name: "bmc-garbage",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            stage.bmc.add_rule(Rule::all(Fault::Garbage));
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "BmcUnreachable",
            says: ["BadAnswer", "Check that the address is a Redfish service"],
        }],
        bound: FAILING,
        right: CLEAR_RULES,
    },
    Case {
        name: "bmc-refuses-image",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            let refusal = answer(400, r#"{"error": {"message": "no room for this image"}}"#);
            stage
                .bmc
                .add_rule(Rule::on(http::Method::POST, "InsertMedia", refusal));
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "DirectiveFailed",
            says: ["StageInstall", "no room for this image"],
        }],
        bound: TRIED,
        right: CLEAR_RULES,
    },
    Case {
        name: "bmc-refuses-override",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            let refusal = answer(400, r#"{"error": {"message": "locked by setup"}}"#);
            stage
                .bmc
                .add_rule(Rule::on(http::Method::PATCH, "", refusal));
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "DirectiveFailed",
            says: ["StageInstall", "locked by setup"],
        }],
        bound: TRIED,
        right: CLEAR_RULES,
    },
    Case {
        name: "address-not-allowed",
        setting: USUAL,
        wrong: act!(|_stage, objects| {
            objects.kept_back.push(objects.card.clone());
            objects.card["spec"]["bmc"]["address"] = json!("http://192.0.2.1:8000");
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "BmcRefused",
            says: ["AddressNotAllowed", "Correct the address"],
        }],
        bound: UNASKED,
        right: APPLY_KEPT_BACK,
    },
    Case {
        name: "credentials-refused",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            objects.secret = stage.secret_with_password("not-the-password");
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "BmcRefused",
            says: ["CredentialsRefused", "Correct the credentials Secret"],
        }],
        bound: REFUSED,
        right: act!(|stage, _objects| {
            let right = stage.secret(&stage.credentials);
            stage.apply_these([&right]).await?;
        }),
    },
    Case {
        name: "secret-missing",
        setting: USUAL,
        wrong: act!(|_stage, objects| {
            objects.keep_back(|objects| &mut objects.secret);
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "BmcRefused",
            says: ["SecretMissing", "create it"],
        }],
        bound: UNASKED,
        right: APPLY_KEPT_BACK,
    },
    Case {
        name: "secret-without-password",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            objects.kept_back.push(objects.secret.clone());
            objects.secret = stage.secret_with_password("");
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "BmcRefused",
            says: ["SecretInvalid", "give it the keys"],
        }],
        bound: UNASKED,
        right: APPLY_KEPT_BACK,
    },
    Case {
        name: "secret-rotated",
        setting: Setting {
            when: Moment::MidInstall,
            ..USUAL
        },
        wrong: act!(|stage, _objects| {
            // The BMC has its new password before the Secret has it.
            stage.bmc.add_rule(Rule::all(answer(401, "{}")));
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "BmcRefused",
            says: ["CredentialsRefused", "Correct the credentials Secret"],
        }],
        bound: Bound {
            image: 2,
            ..REFUSED
        },
        right: act!(|stage, _objects| {
            stage.bmc.clear_rules();
            let rotated = stage.secret(&stage.rotated);
            stage.apply_these([&rotated]).await?;
        }),
    },
    Case {
        name: "certificate-untrusted",
        setting: Setting {
            bmcs: Bmcs::Tls,
            ..USUAL
        },
        wrong: act!(|stage, objects| {
            objects.more.push(stage.ca(&stage.certificates.ca));
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "BmcRefused",
            says: ["CertificateUntrusted", "give the CA that signed"],
        }],
        bound: UNASKED,
        right: act!(|stage, _objects| {
            stage.bmc.set_tls(stage.certificates.trusted.clone())?;
        }),
    },
    Case {
        name: "ca-missing",
        setting: Setting {
            bmcs: Bmcs::Tls,
            ..USUAL
        },
        wrong: act!(|stage, _objects| {
            stage.bmc.set_tls(stage.certificates.trusted.clone())?;
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "BmcRefused",
            says: ["CaMissing", "create it with the PEM bundle"],
        }],
        bound: UNASKED,
        right: act!(|stage, _objects| {
            let ca = stage.ca(&stage.certificates.ca);
            stage.apply_these([&ca]).await?;
        }),
    },
];
