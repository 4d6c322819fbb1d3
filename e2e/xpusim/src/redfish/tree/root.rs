//! The service root, the OData service document and `$metadata`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::schema::{COLLECTIONS, SCHEMAS};
use super::{Node, ROOT, View, kind, link};

pub(super) fn root(view: &View<'_>) -> Node {
    let personality = view.personality;
    let mut body = json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": kind("ServiceRoot"),
        "Id": "RootService",
        "Name": personality.root.name,
        "RedfishVersion": personality.root.version,
        "UUID": view.machine.service_uuid,
        "ProtocolFeaturesSupported": {
            "ExcerptQuery": false,
            "FilterQuery": false,
            "OnlyMemberQuery": false,
            "SelectQuery": false,
            "DeepOperations": {"DeepPATCH": false, "DeepPOST": false},
            "ExpandQuery": {
                "ExpandAll": false, "Levels": false, "Links": false, "NoLinks": false,
            },
        },
        "Systems": link(format!("{ROOT}/Systems")),
        "Managers": link(format!("{ROOT}/Managers")),
        "UpdateService": link(format!("{ROOT}/UpdateService")),
        "Tasks": link(format!("{ROOT}/TaskService")),
        "SessionService": link(format!("{ROOT}/SessionService")),
        "AccountService": link(format!("{ROOT}/AccountService")),
        "Links": {"Sessions": link(format!("{ROOT}/SessionService/Sessions"))},
    });
    for (name, value) in [
        ("Vendor", personality.root.vendor),
        ("Product", personality.root.product),
    ] {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    if personality.offers.chassis {
        body["Chassis"] = link(format!("{ROOT}/Chassis"));
    }
    if !personality.offers.integrity.is_empty() {
        body["ComponentIntegrity"] = link(format!("{ROOT}/ComponentIntegrity"));
    }
    Node::read(body)
}

/// The OData service document.
pub(super) fn odata() -> Node {
    let services = [
        ("Service", "/redfish/v1/"),
        ("Systems", "/redfish/v1/Systems"),
        ("Managers", "/redfish/v1/Managers"),
        ("UpdateService", "/redfish/v1/UpdateService"),
        ("TaskService", "/redfish/v1/TaskService"),
        ("SessionService", "/redfish/v1/SessionService"),
        ("Sessions", "/redfish/v1/SessionService/Sessions"),
        ("AccountService", "/redfish/v1/AccountService"),
    ];
    let value: Vec<Value> = services
        .iter()
        .map(|(name, url)| json!({"name": name, "kind": "Singleton", "url": url}))
        .collect();
    Node::read(json!({
        "@odata.context": "/redfish/v1/$metadata",
        "value": value,
    }))
}

/// `$metadata`: references to the schemas of all documents.
pub(in super::super) fn metadata() -> String {
    const EDMX: &str = "http://docs.oasis-open.org/odata/ns/edmx";
    const SOURCE: &str = "http://redfish.dmtf.org/schemas/v1";
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<edmx:Edmx xmlns:edmx=\"{EDMX}\" Version=\"4.0\">\n"
    );
    let mut refer = |file: &str, namespaces: &[String]| {
        let includes: String = namespaces
            .iter()
            .map(|one| format!("<edmx:Include Namespace=\"{one}\"/>"))
            .collect();
        // Writing to a String cannot fail.
        writeln!(
            text,
            "  <edmx:Reference Uri=\"{SOURCE}/{file}_v1.xml\">{includes}</edmx:Reference>"
        )
        .unwrap_or_default();
    };
    for (schema, version) in SCHEMAS {
        refer(schema, &[schema.to_owned(), format!("{schema}.{version}")]);
    }
    refer("ManagerAccount", &["ManagerAccount.v1_3_0".to_owned()]);
    for schema in COLLECTIONS
        .iter()
        .chain(&["Storage", "VirtualMedia", "Drive", "Volume"])
    {
        let collection = format!("{schema}Collection");
        refer(&collection, std::slice::from_ref(&collection));
    }
    refer(
        "RedfishExtensions",
        &["RedfishExtensions.v1_0_0".to_owned()],
    );
    refer(
        "Settings",
        &["Settings".to_owned(), "Settings.v1_3_5".to_owned()],
    );
    refer(
        "Resource",
        &["Resource".to_owned(), "Resource.v1_0_0".to_owned()],
    );
    text.push_str(
        "  <edmx:DataServices>\n    \
         <Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\">\n      \
         <EntityContainer Name=\"Service\" Extends=\"ServiceRoot.v1_15_0.ServiceContainer\"/>\n    \
         </Schema>\n  </edmx:DataServices>\n</edmx:Edmx>\n",
    );
    text
}
