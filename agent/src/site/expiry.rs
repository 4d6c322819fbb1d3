//! What to do with a work order that may be due. Pure.

use jiff::Timestamp;
use lockstep_crds::directive::{OrphanAction, WorkOrder};

use crate::site::order::{Order, OrderState};

/// What could be learned of a host when its order expired.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The API server could not be asked.
    Unreachable,
    /// The `DpuHost` is gone, or another one has its name.
    Gone,
    /// The `DpuHost` is there, and this release cannot read what it says.
    Unreadable,
    /// The `DpuHost` as it is.
    Present {
        /// Its hold's work order, if it is held.
        work_order: Option<WorkOrder>,
        /// `handsOff`.
        hands_off: bool,
    },
}

/// What to do with an order.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderDecision {
    /// Nothing now.
    Rest,
    /// Keep it with another expiry or ending.
    Follow(WorkOrder),
    /// Record that the host stays held.
    KeepHeld,
    /// Put settings back and power the host on.
    Release,
    /// It is due, and somebody with a say is against it.
    Defer(&'static str),
}

/// Whether an order has to be looked at.
pub fn is_due(order: &Order, now: Timestamp) -> bool {
    order.state == OrderState::Kept && now >= order.expires_at.0
}

/// What to do with an order that may be due.
pub fn decide(order: &Order, now: Timestamp, seen: &Seen) -> OrderDecision {
    if !is_due(order, now) {
        return OrderDecision::Rest;
    }
    match seen {
        Seen::Present {
            hands_off: true, ..
        } => return OrderDecision::Defer("handsOff is set on the host"),
        Seen::Present {
            work_order: None, ..
        } => {
            return OrderDecision::Defer("the DpuHost no longer says that it is held");
        }
        Seen::Present {
            work_order: Some(current),
            ..
        } if *current != order.work_order() => return OrderDecision::Follow(current.clone()),
        Seen::Unreadable => {
            return OrderDecision::Defer(
                "this release cannot read the DpuHost; upgrade the site agent, or correct the object",
            );
        }
        Seen::Unreachable | Seen::Gone if order.hands_off => {
            return OrderDecision::Defer("handsOff was set on the host when it was last seen");
        }
        Seen::Unreachable | Seen::Gone | Seen::Present { .. } => {}
    }
    match &order.on_orphan {
        OrphanAction::KeepHeld | OrphanAction::Unrecognized(_) => OrderDecision::KeepHeld,
        OrphanAction::RestoreAndRelease => OrderDecision::Release,
    }
}

/// Takes over another expiry or ending. An order that was left held comes back
/// to life if its new expiry lies ahead.
pub fn follow(order: &mut Order, current: &WorkOrder, now: Timestamp) {
    let revives = order.state == OrderState::ExpiredKeptHeld && current.expires_at.0 > now;
    if order.state == OrderState::Kept || revives {
        order.state = OrderState::Kept;
        order.expires_at = current.expires_at.clone();
        order.on_orphan = current.on_orphan.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::samples::order;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn time(text: &str) -> Time {
        Time(text.parse().unwrap())
    }

    fn present(expires: Option<&str>, hands_off: bool) -> Seen {
        Seen::Present {
            work_order: expires.map(|text| WorkOrder {
                expires_at: time(text),
                on_orphan: OrphanAction::RestoreAndRelease,
            }),
            hands_off,
        }
    }

    #[test]
    fn an_order_is_carried_out_only_when_due_and_unopposed() {
        let at = "2026-01-01T01:00:00Z";
        let later = "2026-01-01T02:00:00Z";
        let followed = OrderDecision::Follow(WorkOrder {
            expires_at: time(later),
            on_orphan: OrphanAction::RestoreAndRelease,
        });
        let early: Timestamp = "2026-01-01T00:59:59Z".parse().unwrap();
        let due: Timestamp = at.parse().unwrap();
        for (now, seen, wanted) in [
            (early, Seen::Unreachable, OrderDecision::Rest),
            (early, present(None, true), OrderDecision::Rest),
            (due, Seen::Unreachable, OrderDecision::Release),
            (due, Seen::Gone, OrderDecision::Release),
            (due, present(Some(at), false), OrderDecision::Release),
            (due, present(Some(later), false), followed),
            (
                due,
                present(None, false),
                OrderDecision::Defer("the DpuHost no longer says that it is held"),
            ),
            (
                due,
                present(Some(at), true),
                OrderDecision::Defer("handsOff is set on the host"),
            ),
        ] {
            assert_eq!(decide(&order(), now, &seen), wanted, "{seen:?}");
        }
        let mut kept = order();
        kept.on_orphan = OrphanAction::KeepHeld;
        assert_eq!(
            decide(&kept, due, &Seen::Unreachable),
            OrderDecision::KeepHeld
        );
        assert!(matches!(
            decide(&order(), due, &Seen::Unreadable),
            OrderDecision::Defer(_)
        ));
        let mut newer = order();
        newer.on_orphan = OrphanAction::from("HandOver");
        assert_eq!(
            decide(&newer, due, &Seen::Unreachable),
            OrderDecision::KeepHeld
        );
        let mut touched = order();
        touched.hands_off = true;
        assert!(matches!(
            decide(&touched, due, &Seen::Unreachable),
            OrderDecision::Defer(_)
        ));
        for state in [
            OrderState::Restoring,
            OrderState::PoweringOn,
            OrderState::ExpiredKeptHeld,
            OrderState::ExpiredReleased,
            OrderState::ReleasedOffline,
        ] {
            let order = Order { state, ..order() };
            assert_eq!(decide(&order, due, &Seen::Unreachable), OrderDecision::Rest);
        }
    }

    #[test]
    fn an_extension_revives_only_what_was_left_held() {
        let now: Timestamp = "2026-01-01T01:30:00Z".parse().unwrap();
        let longer = WorkOrder {
            expires_at: time("2026-01-01T02:00:00Z"),
            on_orphan: OrphanAction::KeepHeld,
        };
        for (state, wanted) in [
            (OrderState::Kept, OrderState::Kept),
            (OrderState::ExpiredKeptHeld, OrderState::Kept),
            (OrderState::ExpiredReleased, OrderState::ExpiredReleased),
            (OrderState::PoweringOn, OrderState::PoweringOn),
        ] {
            let mut order = Order { state, ..order() };
            follow(&mut order, &longer, now);
            assert_eq!(order.state, wanted);
            assert_eq!(
                order.expires_at == longer.expires_at,
                wanted == OrderState::Kept
            );
        }
    }
}
