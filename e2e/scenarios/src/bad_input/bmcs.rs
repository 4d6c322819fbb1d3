//! BMCs that do not answer, answer rubbish, or do not take what they are offered.

use lockstep_lab::Credentials;
use lockstep_lab::front::{Fault, Rule};
use serde_json::json;

use crate::bad_input::act;
use crate::bad_input::case::{Bmcs, Bound, Case, Expect, Moment, Of, SLOWLY, SOON, Then};

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
/// Nothing is asked of a BMC that cannot be used.
const UNASKED: Bound = Bound {
    bmc: 0,
    refused: None,
    image: 1,
};

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        name: "bmc-never-answers",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SLOWLY,
        wrong: act!(|stage, _objects| {
            stage.bmc.add_rule(Rule::all(Fault::Hang));
        }),
        expect: &[
            Expect {
                of: Of::Card,
                reason: "BmcUnreachable",
                says: &["NoAnswer", "Check the BMC's power"],
            },
            Expect {
                of: Of::Host,
                reason: "BmcUnreachable",
                says: &["NoAnswer", "Check the BMC's power"],
            },
        ],
        bound: FAILING,
        right: act!(|stage, _objects| {
            stage.bmc.clear_rules();
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "bmc-unreachable",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            stage.bmc.refuse_connections(true);
        }),
        expect: &[
            Expect {
                of: Of::Card,
                reason: "BmcUnreachable",
                says: &["Unreachable", "Check the BMC's power"],
            },
            Expect {
                of: Of::Host,
                reason: "BmcUnreachable",
                says: &["Unreachable", "Check the BMC's power"],
            },
        ],
        bound: UNASKED,
        right: act!(|stage, _objects| {
            stage.bmc.refuse_connections(false);
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "host-bmc-unreachable",
        when: Moment::Before,
        bmcs: Bmcs::Two,
        within: SOON,
        wrong: act!(|stage, objects| {
            objects.host = stage.server(objects)?;
            let host = stage.world.machines.bmc(&stage.rival())?;
            host.refuse_connections(true);
        }),
        expect: &[
            Expect {
                of: Of::Host,
                reason: "BmcUnreachable",
                says: &["dpuhost/host-bmc-unreachable", "Check the BMC's power"],
            },
            Expect {
                of: Of::Card,
                reason: "BmcUnreachable",
                says: &["dpuhost/host-bmc-unreachable", "Check the BMC's power"],
            },
        ],
        bound: Bound {
            bmc: 120,
            refused: None,
            image: 1,
        },
        right: act!(|stage, _objects| {
            let host = stage.world.machines.bmc(&stage.rival())?;
            host.refuse_connections(false);
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "bmc-500",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            stage.bmc.add_rule(Rule::all(Fault::Answer {
                status: 500,
                body: "{}".to_owned(),
            }));
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "BmcUnreachable",
            says: &["HTTP 500", "Check the BMC's power"],
        }],
        bound: FAILING,
        right: act!(|stage, _objects| {
            stage.bmc.clear_rules();
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "bmc-garbage",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            stage.bmc.add_rule(Rule::all(Fault::Garbage));
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "BmcUnreachable",
            says: &["BadAnswer", "Check that the address is a Redfish service"],
        }],
        bound: FAILING,
        right: act!(|stage, _objects| {
            stage.bmc.clear_rules();
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "bmc-refuses-image",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            let refusal = Fault::Answer {
                status: 400,
                body: r#"{"error": {"message": "no room for this image"}}"#.to_owned(),
            };
            stage
                .bmc
                .add_rule(Rule::on(http::Method::POST, "InsertMedia", refusal));
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "DirectiveFailed",
            says: &["StageInstall", "no room for this image"],
        }],
        bound: Bound {
            bmc: 160,
            refused: None,
            image: 1,
        },
        right: act!(|stage, _objects| {
            stage.bmc.clear_rules();
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "bmc-refuses-override",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            let refusal = Fault::Answer {
                status: 400,
                body: r#"{"error": {"message": "locked by setup"}}"#.to_owned(),
            };
            stage
                .bmc
                .add_rule(Rule::on(http::Method::PATCH, "", refusal));
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "DirectiveFailed",
            says: &["StageInstall", "locked by setup"],
        }],
        bound: Bound {
            bmc: 160,
            refused: None,
            image: 1,
        },
        right: act!(|stage, _objects| {
            stage.bmc.clear_rules();
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "address-not-allowed",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|_stage, objects| {
            objects.kept_back.push(objects.card.clone());
            objects.card["spec"]["bmc"]["address"] = json!("http://192.0.2.1:8000");
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "BmcRefused",
            says: &["AddressNotAllowed", "Correct the address"],
        }],
        bound: UNASKED,
        right: act!(|stage, objects| {
            stage.apply_these(&objects.kept_back).await?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "credentials-refused",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, objects| {
            objects.secret = stage.secret(&Credentials {
                username: stage.credentials.username.clone(),
                password: "not-the-password".to_owned(),
            });
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "BmcRefused",
            says: &["CredentialsRefused", "Correct the credentials Secret"],
        }],
        bound: REFUSED,
        right: act!(|stage, _objects| {
            let right = stage.secret(&stage.credentials);
            stage.apply_these([&right]).await?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "secret-missing",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|_stage, objects| {
            objects.keep_back(|objects| &mut objects.secret);
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "BmcRefused",
            says: &["SecretMissing", "create it"],
        }],
        bound: UNASKED,
        right: act!(|stage, objects| {
            stage.apply_these(&objects.kept_back).await?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "secret-without-password",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, objects| {
            objects.kept_back.push(objects.secret.clone());
            objects.secret = stage.secret(&Credentials {
                username: stage.credentials.username.clone(),
                password: String::new(),
            });
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "BmcRefused",
            says: &["SecretInvalid", "give it the keys"],
        }],
        bound: UNASKED,
        right: act!(|stage, objects| {
            stage.apply_these(&objects.kept_back).await?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "secret-rotated",
        when: Moment::MidInstall,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            // The BMC has its new password before the Secret has it.
            stage.bmc.add_rule(Rule::all(Fault::Answer {
                status: 401,
                body: "{}".to_owned(),
            }));
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "BmcRefused",
            says: &["CredentialsRefused", "Correct the credentials Secret"],
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
        then: Then::PowerOn,
    },
    Case {
        name: "certificate-untrusted",
        when: Moment::Before,
        bmcs: Bmcs::Tls,
        within: SOON,
        wrong: act!(|stage, objects| {
            objects.more.push(stage.ca(&stage.certificates.ca));
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "BmcRefused",
            says: &["CertificateUntrusted", "give the CA that signed"],
        }],
        bound: UNASKED,
        right: act!(|stage, _objects| {
            stage.bmc.set_tls(stage.certificates.trusted.clone())?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "ca-missing",
        when: Moment::Before,
        bmcs: Bmcs::Tls,
        within: SOON,
        wrong: act!(|stage, _objects| {
            stage.bmc.set_tls(stage.certificates.trusted.clone())?;
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "BmcRefused",
            says: &["CaMissing", "create it with the PEM bundle"],
        }],
        bound: UNASKED,
        right: act!(|stage, _objects| {
            let ca = stage.ca(&stage.certificates.ca);
            stage.apply_these([&ca]).await?;
        }),
        then: Then::PowerOn,
    },
];
