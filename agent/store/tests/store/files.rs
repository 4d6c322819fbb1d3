//! Files of a card's own, laid over the slots of its image.

use std::collections::BTreeMap;

use http::header;
use lockstep_store::{Digest, Store};
use reqwest::Client;

use crate::origin::Origin;
use crate::site::{Site, image, mode, request, serve, with_slot};

const SIZE: usize = 700_000;
const SEED: (usize, usize) = (10, 4096);
/// Across the border of two chunks that the server reads.
const USER_DATA: (usize, usize) = (256 * 1024 - 100, 4096);
const BF_CFG: (usize, usize) = (600_000, 256);

fn with_file_slot(mut image: Vec<u8>, name: &str, (offset, len): (usize, usize)) -> Vec<u8> {
    let header = format!("LOCKSTEP-FILE-SLOT-V1 {name} {len}\n");
    image[offset..offset + len].fill(b'\n');
    image[offset..offset + header.len()].copy_from_slice(header.as_bytes());
    image
}

fn slotted() -> Vec<u8> {
    let image = with_slot(image(1, SIZE), SEED.0, SEED.1);
    let image = with_file_slot(image, "user-data", USER_DATA);
    with_file_slot(image, "bf.cfg", BF_CFG)
}

fn files(each: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    let owned = |(name, content): &(&str, &[u8])| ((*name).to_owned(), content.to_vec());
    each.iter().map(owned).collect()
}

fn filled(mut image: Vec<u8>, (offset, len): (usize, usize), content: &[u8], pad: u8) -> Vec<u8> {
    image[offset..offset + len].fill(pad);
    image[offset..offset + content.len()].copy_from_slice(content);
    image
}

async fn stored(site: &Site, bytes: &[u8]) -> (Store, Digest) {
    let (store, origin) = (site.open(), Origin::start(bytes).await);
    let info = store.fetch(&request(bytes, &[origin.url()])).await.unwrap();
    (store, info.digest)
}

async fn get(store: &Store, path: &str) -> (String, Vec<u8>) {
    let (address, server) = serve(store).await;
    let client = Client::builder().no_proxy().tls_certs_only([]).build();
    let url = format!("http://{address}{path}");
    let response = client.unwrap().get(url).send().await.unwrap();
    let etag = response.headers()[header::ETAG]
        .to_str()
        .unwrap()
        .to_owned();
    let bytes = response.bytes().await.unwrap().to_vec();
    server.abort();
    (etag, bytes)
}

#[tokio::test]
async fn each_card_sees_its_own_files_and_others_see_empty_slots() {
    let site = Site::new();
    let bytes = slotted();
    let (store, digest) = stored(&site, &bytes).await;
    let mine = files(&[("user-data", b"#cloud-config\n"), ("bf.cfg", &[b'x'; 256])]);
    let granted = store
        .grant_with_files(digest, "one", Some(b"seed".to_vec()), mine)
        .await;
    let (path, other) = (
        granted.unwrap().path,
        store.grant(digest, "two", None).await.unwrap().path,
    );
    let (etag, seen) = get(&store, &path).await;
    let wanted = filled(bytes.clone(), SEED, b"seed", b' ');
    let wanted = filled(wanted, USER_DATA, b"#cloud-config\n", b'\n');
    let wanted = filled(wanted, BF_CFG, &[b'x'; 256], b'\n');
    assert!(seen == wanted);
    let (plain, seen) = get(&store, &other).await;
    assert!(seen == bytes && plain != etag);

    let changed = files(&[("user-data", b"#cloud-config\n#")]);
    let again = store.grant_with_files(digest, "one", Some(b"seed".to_vec()), changed);
    assert_eq!(again.await.unwrap().path, path);
    let (changed, _) = get(&store, &path).await;
    assert_ne!(changed, etag, "a changed file is another version");
}

#[tokio::test]
async fn files_outlive_a_restart_in_a_private_file_and_end_with_the_grant() {
    let site = Site::new();
    let bytes = slotted();
    let (store, digest) = stored(&site, &bytes).await;
    let mine = files(&[("bf.cfg", b"very-secret")]);
    let granted = store.grant_with_files(digest, "one", None, mine.clone());
    let path = granted.await.unwrap().path;
    assert!(!format!("{store:?}").contains("very-secret"));
    drop(store);

    let store = site.open();
    assert_eq!(mode(&site.path("grants.json")), 0o600);
    let (_, seen) = get(&store, &path).await;
    assert!(seen == filled(bytes, BF_CFG, b"very-secret", b'\n'));
    store.revoke("one").await.unwrap();
    let kept = std::fs::read_to_string(site.path("grants.json")).unwrap();
    assert!(!kept.contains(&hex::encode("very-secret")));
}

#[tokio::test]
async fn files_need_one_slot_of_their_name_that_they_fit() {
    let site = Site::new();
    let twice = with_file_slot(slotted(), "bf.cfg", (500_000, 256));
    let (store, digest) = stored(&site, &twice).await;
    for (wanted, category, words) in [
        (
            files(&[("meta-data", b"")]),
            "SlotMissing",
            "it has user-data, bf.cfg",
        ),
        (
            files(&[("bf.cfg", b"")]),
            "SlotAmbiguous",
            "bytes 500000 and 600000",
        ),
        (
            files(&[("user-data", &[0; 4097])]),
            "FileTooLarge",
            "4097 bytes",
        ),
    ] {
        let asked = store.takes_files(digest, &wanted).await.unwrap_err();
        let granted = store.grant_with_files(digest, "card", None, wanted).await;
        assert_eq!(granted.unwrap_err(), asked);
        assert_eq!(asked.category(), category);
        assert!(asked.is_permanent() && !asked.remedy().is_empty());
        assert!(asked.to_string().contains(words), "{asked}");
    }
    assert!(store.granted(&digest, "card").is_none());
    let fits = files(&[("user-data", &[0; 4096])]);
    store.takes_files(digest, &fits).await.unwrap();
}
