//! What BMCs get: ranges, the seed, and nothing without a capability.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use http::{Method, StatusCode, header};
use lockstep_store::{Answered, GrantError, Sight, Store};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reqwest::{Client, Response};

use crate::origin::Origin;
use crate::site::{Site, image, mode, request, serve, until, with_slot};

const SIZE: usize = 700_000;
const SLOT: usize = 4096;
/// Across the border of two chunks that the server reads.
const OFFSET: usize = 256 * 1024 - 100;

struct Card {
    site: Site,
    store: Store,
    bytes: Vec<u8>,
    digest: lockstep_store::Digest,
    address: SocketAddr,
    client: Client,
}

async fn card() -> Card {
    card_of(SIZE).await
}

async fn card_of(size: usize) -> Card {
    let (site, bytes) = (Site::new(), with_slot(image(1, size), OFFSET, SLOT));
    let (store, origin) = (site.open(), Origin::start(&bytes).await);
    let info = store
        .fetch(&request(&bytes, &[origin.url()]))
        .await
        .unwrap();
    let (address, _) = serve(&store).await;
    Card {
        site,
        digest: info.digest,
        store,
        bytes,
        address,
        client: Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .unwrap(),
    }
}

impl Card {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn grant(&self, key: &str, seed: Option<&[u8]>) -> String {
        let seed = seed.map(<[u8]>::to_vec);
        self.store.grant(self.digest, key, seed).await.unwrap().path
    }

    async fn get(&self, path: &str, headers: &[(header::HeaderName, &str)]) -> Response {
        self.send(Method::GET, path, headers).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
    ) -> Response {
        let mut request = self.client.request(method, self.url(path));
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        request.send().await.unwrap()
    }

    fn overlaid(&self, seed: &[u8]) -> Vec<u8> {
        let mut whole = self.bytes.clone();
        whole[OFFSET..OFFSET + SLOT].fill(b' ');
        whole[OFFSET..OFFSET + seed.len()].copy_from_slice(seed);
        whole
    }
}

fn text(response: &Response, name: header::HeaderName) -> &str {
    response.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn an_image_without_seed_is_served_as_it_is() {
    let card = card().await;
    let path = card.grant("card", None).await;
    let response = card.get(&path, &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(&response, header::ACCEPT_RANGES), "bytes");
    assert_eq!(text(&response, header::CONTENT_LENGTH), SIZE.to_string());
    assert_eq!(response.bytes().await.unwrap(), card.bytes);
}

#[tokio::test]
async fn each_card_sees_its_own_seed() {
    let card = card().await;
    let (one, two) = (
        card.grant("1", Some(b"one")).await,
        card.grant("2", Some(&[7; SLOT])).await,
    );
    assert_ne!(one, two);
    let (a, b) = (card.get(&one, &[]).await, card.get(&two, &[]).await);
    assert_ne!(a.headers()[header::ETAG], b.headers()[header::ETAG]);
    assert_eq!(a.bytes().await.unwrap(), card.overlaid(b"one"));
    assert_eq!(b.bytes().await.unwrap(), card.overlaid(&[7; SLOT]));
}

#[test]
fn any_range_is_that_part_of_the_whole() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let card = runtime.block_on(card());
    let seed = b"{\"token\":\"secret\"}".repeat(100);
    let path = runtime.block_on(card.grant("card", Some(&seed)));
    let whole = card.overlaid(&seed);

    // Anywhere, and often near the slot and the borders of chunks.
    let position = prop_oneof![
        0..SIZE,
        OFFSET - 3..OFFSET + 3,
        OFFSET + seed.len() - 3..OFFSET + seed.len() + 3,
        OFFSET + SLOT - 3..OFFSET + SLOT + 3,
        256 * 1024 - 3..256 * 1024 + 3_usize,
        SIZE - 3..SIZE,
    ];
    let ranges = (position.clone(), position);
    TestRunner::new(ProptestConfig::with_cases(300))
        .run(&ranges, |(a, b)| {
            let (first, last) = (a.min(b), a.max(b));
            let range = format!("bytes={first}-{last}");
            let (status, place, body) = runtime.block_on(async {
                let response = card.get(&path, &[(header::RANGE, &range)]).await;
                let place = text(&response, header::CONTENT_RANGE).to_owned();
                (response.status(), place, response.bytes().await.unwrap())
            });
            prop_assert_eq!(status, StatusCode::PARTIAL_CONTENT);
            prop_assert_eq!(place, format!("bytes {first}-{last}/{SIZE}"));
            prop_assert!(body == whole[first..=last], "{range}");
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn open_ranges_suffixes_and_impossible_ones() {
    let card = card().await;
    let path = card.grant("card", None).await;
    for (range, expected) in [
        ("bytes=699990-", 699_990..SIZE),
        ("bytes=-5", SIZE - 5..SIZE),
    ] {
        let response = card.get(&path, &[(header::RANGE, range)]).await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.bytes().await.unwrap(), card.bytes[expected]);
    }
    let response = card.get(&path, &[(header::RANGE, "bytes=700000-")]).await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(text(&response, header::CONTENT_RANGE), "bytes */700000");
    let response = card.get(&path, &[(header::RANGE, "bytes=0-1,5-6")]).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn if_range_guards_against_a_changed_seed() {
    let card = card().await;
    let path = card.grant("card", Some(b"one")).await;
    let etag = text(&card.get(&path, &[]).await, header::ETAG).to_owned();
    let part = |etag: String| {
        let (card, path) = (&card, &path);
        async move {
            let headers = [
                (header::RANGE, "bytes=0-9"),
                (header::IF_RANGE, etag.as_str()),
            ];
            card.get(path, &headers).await
        }
    };
    assert_eq!(
        part(etag.clone()).await.status(),
        StatusCode::PARTIAL_CONTENT
    );
    assert_eq!(card.grant("card", Some(b"two")).await, path);
    let response = part(etag).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.bytes().await.unwrap(), card.overlaid(b"two"));
}

#[tokio::test]
async fn head_tells_the_size_and_sends_nothing() {
    let card = card().await;
    let path = card.grant("card", None).await;
    let response = card
        .send(Method::HEAD, &path, &[(header::RANGE, "bytes=0-9")])
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(&response, header::CONTENT_LENGTH), SIZE.to_string());
    assert_eq!(text(&response, header::ACCEPT_RANGES), "bytes");
    let stats = card.store.grant_stats("card").unwrap();
    assert_eq!((stats.requests, stats.bytes_served), (1, 0));
}

#[tokio::test]
async fn without_a_capability_everything_looks_the_same() {
    let card = card().await;
    let path = card.grant("card", None).await;
    let revoked = card.grant("gone", None).await;
    card.store.revoke("gone").await.unwrap();
    let mut answers = Vec::new();
    for wrong in [
        format!("/i/{}/image.iso", "0".repeat(64)),
        path.to_uppercase()
            .replace("/I/", "/i/")
            .replace("IMAGE.ISO", "image.iso"),
        "/i/x/image.iso".to_owned(),
        "/i/%ff/image.iso".to_owned(),
        revoked,
    ] {
        let response = card.get(&wrong, &[(header::RANGE, "bytes=0-0")]).await;
        let mut headers = response.headers().clone();
        headers.remove(header::DATE);
        answers.push((response.status(), headers, response.bytes().await.unwrap()));
    }
    assert_eq!(answers[0].0, StatusCode::NOT_FOUND);
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(
        card.send(Method::POST, &path, &[]).await.status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn what_a_card_reads_is_counted() {
    let card = card().await;
    assert_eq!(card.store.grant_stats("card"), None);
    let path = card.grant("card", None).await;
    let stats = card.store.grant_stats("card").unwrap();
    assert_eq!((stats.requests, stats.first_request), (0, None));
    card.get(&path, &[(header::RANGE, "bytes=0-99")])
        .await
        .bytes()
        .await
        .unwrap();
    card.get(&path, &[]).await.bytes().await.unwrap();
    until("the responses end", || {
        card.store.grant_stats("card").unwrap().active == 0
    })
    .await;
    let stats = card.store.grant_stats("card").unwrap();
    assert_eq!((stats.requests, stats.failures), (2, 0));
    assert_eq!(stats.bytes_served, 100 + SIZE as u64);
    assert!(stats.first_request.unwrap() <= stats.last_request.unwrap());
}

#[tokio::test]
async fn what_is_seen_of_the_way_to_an_image_is_remembered() {
    let card = card().await;
    let path = card.grant("card", None).await;
    let sight = || {
        let sights = card.store.sights("card");
        let [(digest, sight)] = sights.as_slice() else {
            panic!("{sights:?}");
        };
        assert_eq!(*digest, card.digest);
        *sight
    };
    let last = |wanted: Answered| sight().last.map(|(last, _)| last) == Some(wanted);
    assert!(sight().granted_at.is_some() && sight().last.is_none());

    card.send(Method::HEAD, &path, &[]).await;
    assert!(last(Answered::Headers) && !sight().has_bytes);
    card.send(Method::POST, &path, &[]).await;
    assert!(last(Answered::NoSuchMethod));
    let beyond = format!("bytes={SIZE}-");
    card.get(&path, &[(header::RANGE, &beyond)]).await;
    assert!(last(Answered::NoSuchRange));
    let part = [(header::RANGE, "bytes=0-99")];
    card.get(&path, &part).await.bytes().await.unwrap();
    until("the part ends", || last(Answered::Bytes)).await;
    assert!(sight().has_bytes && !sight().is_whole);
    card.get(&path, &[]).await.bytes().await.unwrap();
    until("the whole ends", || sight().is_whole).await;
    let Sight { length, active, .. } = sight();
    assert_eq!((length, active), (SIZE as u64, 0));

    // What was granted before, and what a new grant makes of it.
    card.store.revoke("card").await.unwrap();
    assert!(card.store.sights("card").is_empty());
    card.grant("card", None).await;
    assert!(sight().last.is_none());
    card.get(&path, &[]).await;
    assert!(last(Answered::Ended));
    let unknown = format!("/i/{}/image.iso", "0".repeat(64));
    let own = card.grant("card", None).await;
    card.send(Method::HEAD, &own, &[]).await;
    card.get(&unknown, &[]).await;
    assert!(last(Answered::Headers));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_told_with_where() {
    // More than the system holds between the two.
    let card = card_of(32 * SIZE).await;
    let path = card.grant("card", None).await;
    let mut response = card.get(&path, &[]).await;
    response.chunk().await.unwrap().unwrap();
    drop(response);
    let sight = || card.store.sights("card")[0].1;
    until("the response ends", || sight().active == 0).await;
    let Some((Answered::Cut { at }, _)) = sight().last else {
        panic!("{:?}", sight());
    };
    assert!(sight().has_bytes && at > 0 && at < sight().length);
}

#[tokio::test]
async fn once_bytes_are_read_what_gets_none_is_not_told() {
    let card = card().await;
    let ended = card.grant("card", None).await;
    card.store.revoke("card").await.unwrap();
    let path = card.grant("card", None).await;
    let last = || card.store.sights("card")[0].1.last.map(|(last, _)| last);
    let half = SIZE / 2;
    for part in [
        format!("bytes=0-{}", half - 1),
        format!("bytes={half}-{}", SIZE - 1),
    ] {
        let part = [(header::RANGE, part.as_str())];
        card.get(&path, &part).await.bytes().await.unwrap();
    }
    until("the parts end", || {
        last() == Some(Answered::Bytes) && card.store.sights("card")[0].1.active == 0
    })
    .await;
    // It asks on until there is no more, and for what it was given before.
    let beyond = format!("bytes={SIZE}-");
    let refused = card.get(&path, &[(header::RANGE, &beyond)]).await;
    assert_eq!(refused.status(), 416);
    card.get(&ended, &[]).await;
    card.send(Method::POST, &path, &[]).await;
    card.send(Method::HEAD, &path, &[]).await;
    assert_eq!(last(), Some(Answered::Bytes));
}

#[tokio::test]
async fn what_is_handed_out_anew_is_seen_anew() {
    let card = card_of(32 * SIZE).await;
    let path = card.grant("card", None).await;
    let sight = || card.store.sights("card")[0].1;
    let granted_at = sight().granted_at;
    card.get(&path, &[]).await.bytes().await.unwrap();
    until("the whole ends", || sight().is_whole).await;
    let mut under_way = card.get(&path, &[]).await;
    under_way.chunk().await.unwrap().unwrap();

    card.store.hand_out(&card.digest, "card");
    let begun = sight();
    assert!(begun.granted_at > granted_at);
    assert_eq!((begun.last, begun.is_whole, begun.active), (None, false, 0));
    assert_eq!(card.grant("card", None).await, path);
    // A reader of the last attempt goes away.
    drop(under_way);
    until("the response ends", || {
        card.store.grant_stats("card").unwrap().active == 0
    })
    .await;
    assert_eq!(sight(), begun);
    card.send(Method::POST, &path, &[]).await;
    let last = sight().last.map(|(last, _)| last);
    assert_eq!(last, Some(Answered::NoSuchMethod));
}

#[tokio::test]
async fn our_own_url_is_recognised_until_revoked() {
    let card = card().await;
    let url = card.url(&card.grant("card", None).await);
    let owner = card.store.owner_of_url(&url).unwrap();
    assert_eq!(
        (owner.card_key.as_str(), owner.digest),
        ("card", card.digest)
    );
    assert!(card.store.owner_of_url("http://other/image.iso").is_none());
    assert!(card.store.granted(&card.digest, "card").is_some());
    card.store.revoke("card").await.unwrap();
    assert!(card.store.owner_of_url(&url).is_none());
    assert!(card.store.granted(&card.digest, "card").is_none());
}

#[tokio::test]
async fn grants_survive_restarts() {
    let card = card().await;
    let path = card.grant("card", Some(b"seed")).await;
    let gone = card.grant("gone", Some(b"forgotten seed")).await;
    card.store.revoke("gone").await.unwrap();
    let Card {
        site,
        store,
        digest,
        bytes,
        ..
    } = card;
    // A second store takes the folder only after the first one's router, which
    // the server task holds, is gone; so the folder is copied instead.
    let again = Site::new();
    copy(site.dir.path(), again.dir.path());
    drop(store);
    let store = again.open();
    assert_eq!(mode(&again.path("grants.json")), 0o600);
    assert!(
        !std::fs::read_to_string(again.path("grants.json"))
            .unwrap()
            .contains(&hex::encode("forgotten"))
    );
    assert!(store.owner_of_url(&gone).is_none());
    let grants = store.grants();
    assert_eq!((grants.len(), grants[0].card_key.as_str()), (1, "card"));

    let (address, _) = serve(&store).await;
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let response = client
        .get(format!("http://{address}{path}"))
        .send()
        .await
        .unwrap();
    let body = response.bytes().await.unwrap();
    assert_eq!(body[OFFSET..OFFSET + 5], *b"seed ");
    assert_eq!(body[..OFFSET], bytes[..OFFSET]);
    assert_eq!(
        store
            .grant(digest, "card", Some(b"seed".to_vec()))
            .await
            .unwrap()
            .path,
        path
    );
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_granted_image_damaged_on_disk_is_not_served() {
    let card = card().await;
    let path = card.grant("card", None).await;
    let again = Site::new();
    copy(card.site.dir.path(), again.dir.path());
    let blob = again.blob(&card.digest);
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, vec![0; SIZE]).unwrap();
    let store = again.open();
    let (address, _) = serve(&store).await;
    for _ in 0..2 {
        let response = card
            .client
            .get(format!("http://{address}{path}"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(store.status().damaged, [card.digest]);
    assert_eq!(store.grant_stats("card").unwrap().failures, 2);

    // Fetched again, the same URL works.
    let origin = Origin::start(&card.bytes).await;
    store
        .fetch(&request(&card.bytes, &[origin.url()]))
        .await
        .unwrap();
    let response = card
        .client
        .get(format!("http://{address}{path}"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.bytes().await.unwrap(), card.bytes);
}

#[tokio::test]
async fn an_image_damaged_after_it_was_served_is_not_served_again() {
    for damage in [vec![0; SIZE], vec![0; SIZE / 2], Vec::new()] {
        let card = card().await;
        let path = card.grant("card", None).await;
        for _ in 0..2 {
            // A use of the image is none of its changes.
            card.grant("another", None).await;
            assert_eq!(card.get(&path, &[]).await.status(), StatusCode::OK);
        }
        assert!(card.store.status().damaged.is_empty());
        let blob = card.site.blob(&card.digest);
        std::fs::set_permissions(&blob, Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&blob, damage).unwrap();
        let response = card.get(&path, &[]).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(card.store.status().damaged, [card.digest]);
        assert!(card.store.info(&card.digest).is_none());
    }
}

#[tokio::test]
async fn a_change_that_sets_the_time_back_is_noticed() {
    let card = card().await;
    let path = card.grant("card", None).await;
    assert_eq!(card.get(&path, &[]).await.status(), StatusCode::OK);
    let blob = card.site.blob(&card.digest);
    let before = std::fs::metadata(&blob).unwrap();
    // Of two changes within one tick of its clock a file system shows one.
    until("the clock of files moves", || {
        std::fs::set_permissions(&blob, Permissions::from_mode(0o644)).unwrap();
        std::fs::metadata(&blob).unwrap().ctime_nsec() != before.ctime_nsec()
    })
    .await;
    let file = std::fs::OpenOptions::new().write(true).open(&blob).unwrap();
    file.write_all_at(b"other", 1000).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let response = card.get(&path, &[]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(card.store.status().damaged, [card.digest]);
}

#[tokio::test]
async fn unreadable_grants_are_put_aside() {
    let site = Site::new();
    std::fs::write(site.path("grants.json"), "{").unwrap();
    let store = site.open();
    assert!(site.path("grants.json.unreadable").exists());
    drop(store);
    site.open();
}

#[tokio::test]
async fn seeds_need_a_slot_that_they_fit() {
    let site = Site::new();
    let store = site.open();
    let plain = image(2, 10_000);
    let double = with_slot(with_slot(image(3, 10_000), 0, 512), 1024, 512);
    let single = with_slot(image(4, 10_000), 0, 512);
    let (mut errors, mut told) = (Vec::new(), Vec::new());
    for bytes in [&plain, &double, &single] {
        let origin = Origin::start(bytes).await;
        let info = store.fetch(&request(bytes, &[origin.url()])).await.unwrap();
        // What is told before anything is granted is what a grant is refused for.
        let takes = store.takes_seed(info.digest).await;
        told.push(takes.map_err(|error| error.category()));
        store.grant(info.digest, "card", None).await.unwrap();
        let error = store
            .grant(info.digest, "card", Some(vec![1; 513]))
            .await
            .unwrap_err();
        assert!(error.is_permanent() && !error.remedy().is_empty());
        errors.push(error);
    }
    assert_eq!(told, [Err("NoSeedSlot"), Err("SeedSlotAmbiguous"), Ok(())]);
    assert!(matches!(errors[0], GrantError::NoSeedSlot { .. }));
    assert!(matches!(
        errors[1],
        GrantError::SeedSlotAmbiguous {
            first: 0,
            second: 1024,
            ..
        }
    ));
    assert!(matches!(
        errors[2],
        GrantError::SeedTooLarge {
            seed: 513,
            slot: 512,
            ..
        }
    ));
    let missing = lockstep_store::Digest::of(b"missing");
    let error = store.grant(missing, "card", None).await.unwrap_err();
    assert_eq!(error.category(), "ImageNotStored");
}

#[tokio::test]
async fn revoking_cuts_off_a_reader() {
    let card = card().await;
    let bytes = image(5, 32 << 20);
    let origin = Origin::start(&bytes).await;
    let info = card
        .store
        .fetch(&request(&bytes, &[origin.url()]))
        .await
        .unwrap();
    let path = card
        .store
        .grant(info.digest, "reader", None)
        .await
        .unwrap()
        .path;
    let mut response = card.get(&path, &[]).await;
    response.chunk().await.unwrap().unwrap();
    card.store.revoke("reader").await.unwrap();
    let cut = loop {
        match response.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(cut, "the body must not end as if it were complete");
}
