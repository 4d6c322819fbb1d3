use super::*;

const FAMILY: u16 = 0x15;

fn handle() -> Handle {
    "pci/0000:03:00.0".parse().unwrap()
}

fn status(device: &str, done: u64, total: u64) -> Vec<u8> {
    Request::new(FAMILY, 0, &[STATUS, 1, 0, 0])
        .attribute(BUS, b"pci\0")
        .attribute(DEVICE, &[device.as_bytes(), &[0]].concat())
        .attribute(124, b"Flashing\0")
        .attribute(123, b"fw.mgmt\0")
        .attribute(125, &done.to_ne_bytes())
        .attribute(126, &total.to_ne_bytes())
        .attribute(151, &81_u64.to_ne_bytes())
        .finish(0)
}

fn last_word(number: i32, words: Option<&[u8]>) -> Vec<u8> {
    let mut payload = number.to_ne_bytes().to_vec();
    payload.extend([0; 16]);
    let flags = if words.is_some() { 0x300 } else { 0x100 };
    let message = Request::new(2, flags, &payload);
    match words {
        Some(words) => message.attribute(1, words),
        None => message,
    }
    .finish(1)
}

#[test]
fn a_handle_is_a_bus_and_a_name_and_leads_nowhere_else() {
    assert_eq!(handle().to_string(), "pci/0000:03:00.0");
    assert_eq!((handle().bus(), handle().device()), ("pci", "0000:03:00.0"));
    for text in [
        "", "pci", "pci/", "/x", "../x", "pci/..", "pci/a/b", "pci/a b",
    ] {
        assert!(text.parse::<Handle>().is_err(), "{text:?}");
    }
}

#[test]
fn progress_of_the_device_is_heard_and_nothing_of_another() {
    let told = heard(&status("0000:03:00.0", 250, 1000), FAMILY, &handle());
    let Heard::Progress(progress) = told else {
        panic!("{told:?}");
    };
    assert_eq!(progress.to_string(), "Flashing fw.mgmt, 25 %");
    assert_eq!(progress.timeout_seconds, 81);
    let other = heard(&status("0000:04:00.0", 1, 2), FAMILY, &handle());
    assert_eq!(other, Heard::Other);
    let foreign = heard(&status("0000:03:00.0", 1, 2), FAMILY + 1, &handle());
    assert_eq!(foreign, Heard::Other);
    for cut in [0, 3, 17, 19, 24] {
        let cut = &status("0000:03:00.0", 1, 2)[..cut];
        assert_eq!(heard(cut, FAMILY, &handle()), Heard::Other);
    }
    let unsaid = Progress {
        done: 5,
        ..progress.clone()
    };
    let unsaid = Progress { total: 0, ..unsaid };
    assert_eq!(unsaid.percent(), None);
    let beyond = Progress {
        done: u64::MAX,
        total: u64::MAX,
        ..progress
    };
    assert!(beyond.percent().is_some_and(|percent| percent <= 100));
}

#[test]
fn the_word_that_the_driver_is_called_is_heard() {
    let begun = Request::new(FAMILY, 0, &[FLASH, 1, 0, 0])
        .attribute(BUS, b"pci\0")
        .attribute(DEVICE, b"0000:03:00.0\0")
        .finish(0);
    assert_eq!(heard(&begun, FAMILY, &handle()), Heard::Begun);
}

#[test]
fn the_last_word_comes_with_the_words_of_kernel_and_driver() {
    assert_eq!(answer(&last_word(0, None)), Answer::Done);
    let told = answer(&last_word(
        -2,
        Some(b"failed to locate the requested firmware file\0"),
    ));
    let Answer::Refused(Errno::NOENT, why) = told else {
        panic!("{told:?}");
    };
    assert!(
        why.starts_with("failed to locate the requested firmware file ("),
        "{why}"
    );
    let Answer::Refused(Errno::INVAL, why) = answer(&last_word(-22, None)) else {
        panic!("not refused");
    };
    assert!(!why.is_empty());
    for bytes in [&[][..], &[1, 2, 3], &status("0000:03:00.0", 1, 2)] {
        assert!(matches!(answer(bytes), Answer::None(_)));
    }
}

#[test]
fn nothing_is_written_for_certain_only_where_no_driver_can_have_been_called() {
    let refused = |error| Answer::Refused(error, "no".to_owned());
    let nothing = || Answer::None("no".to_owned());
    let unasked = Answer::Unasked("no".to_owned());
    let why = || "no".to_owned();
    for (answer, begun, wanted) in [
        (Answer::Done, true, Ok(())),
        (unasked, false, Err(FlashError::NotBegun(why()))),
        (
            refused(Errno::NOENT),
            false,
            Err(FlashError::NotBegun(why())),
        ),
        (
            refused(Errno::OPNOTSUPP),
            false,
            Err(FlashError::NotBegun(why())),
        ),
        // The word that the driver is called may be lost.
        (refused(Errno::IO), false, Err(FlashError::Unclear(why()))),
        (refused(Errno::NOENT), true, Err(FlashError::Broken(why()))),
        (nothing(), false, Err(FlashError::Unclear(why()))),
        (nothing(), true, Err(FlashError::Unclear(why()))),
    ] {
        assert_eq!(conclude(answer, begun), wanted);
    }
}
