//! An rshim as the program behind it answers: everything at the first read, and then the end.

use std::time::Duration;

use lockstep_local::rshim::rshims;
use lockstep_local::{Fact, Root};
use lockstep_rshim_imitation::Imitation;

#[test]
fn what_is_told_at_one_go_is_read_to_its_last_line() {
    let imitation = Imitation::mount().unwrap();
    imitation.card().locked = true;
    let root = Root::new(imitation.root());
    let Fact::Known(all) = rshims(&root, Duration::from_secs(20)) else {
        panic!("no rshim");
    };
    assert!(all[0].boot);
    let Fact::Known(settings) = &all[0].settings else {
        panic!("{all:?}");
    };
    assert_eq!(settings.pci, Fact::Known("0000:03:00.2".parse().unwrap()));
    assert_eq!(settings.device, Fact::Known("BlueField-3(Rev 1)".into()));
    assert_eq!(settings.mode, Fact::Known("DPU mode".into()));
    assert_eq!(settings.locked, Fact::Known(true));
    assert!(settings.uptime_seconds.is_known());
}
