//! A namespace of five thousand cards.

use serde_json::json;

use crate::site::Site;

/// Each is seen by its BMC and its host. How the work grows is counted beside the matching; here
/// the whole of it must come to an end before anybody loses patience, unoptimised.
#[test]
fn five_thousand_cards_are_joined() {
    let mut site = Site::default();
    for n in 0..5000 {
        let host = format!("{n:08x}-1111-4222-8333-444444444444");
        let serial = format!("MT{n:05}");
        let address = format!("https://10.{}.{}.1", n / 250, n % 250);
        site = site
            .host(&format!("h{n}"), json!({"identity": {"systemUuid": host}}))
            .card(&format!("c{n}"), json!({"hostRefs": [{"name": format!("h{n}")}], "identity": {"serialNumber": serial}}))
            .found(&format!("f{n}"), "Card", &address, json!({"inventory": {"system": {"serialNumber": serial}}}))
            .agent(&format!("n{n}"), &host, json!([{"serialNumber": serial}]));
    }
    let joined = site.join();
    assert_eq!((joined.cards.len(), joined.hosts.len()), (5000, 5000));
    assert!(
        joined
            .cards
            .values()
            .all(|card| card.inventory.views.len() == 2)
    );
    assert!(joined.hosts.values().all(|host| host.node_name.is_some()));
    assert!(joined.proposals.is_empty() && joined.withdrawals.is_empty());
}
