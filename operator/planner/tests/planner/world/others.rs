//! What others do to the machines, behind everybody's back.

use super::World;
use super::build::image;

impl World {
    /// Somebody installs that version by other means, and the card boots it.
    pub fn installs_by_hand(&mut self, index: usize, version: &str) {
        if self.is_installing(index) {
            return;
        }
        // What was counted before says nothing of what has to be done after that.
        self.boots.clear();
        self.written(index, image(version));
        self.tell(format!("card {index}: somebody installs {version}"));
        if self.cards[index].machine.is_on() {
            self.reboot_card(index);
        } else {
            self.power_on_card(index);
        }
    }
}
