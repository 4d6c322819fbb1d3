//! Accounts, passwords, lockout and sessions of one BMC.

use std::collections::BTreeSet;

use crate::clock::Moment;
use crate::machine::digits;
use crate::personality::{Access, AccountIds};
use crate::spec::MachineSpec;

/// The accounts and sessions of one BMC.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) accounts: Vec<Account>,
    pub(crate) sessions: Vec<Session>,
    next_session: u64,
    /// Who has used HTTP Basic since the BMC started: noted once, not at every request.
    pub(crate) basic_users: BTreeSet<String>,
    wrong_tries: u32,
    locked_until: Moment,
    /// For tokens: no two machines have the same.
    secret: String,
}

/// An account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) role: String,
    pub(crate) enabled: bool,
    pub(crate) must_change_password: bool,
    /// Made at the factory: it must stay.
    pub(crate) fixed: bool,
}

/// A session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) user: String,
    pub(crate) last_used: Moment,
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginRefused {
    /// Unknown user or wrong password.
    Wrong,
    /// Too many wrong tries.
    Locked,
}

impl Accounts {
    pub(crate) fn new(access: &Access, spec: &MachineSpec) -> Self {
        let mut accounts = Self {
            accounts: Vec::new(),
            sessions: Vec::new(),
            next_session: 1,
            basic_users: BTreeSet::new(),
            wrong_tries: 0,
            locked_until: Moment::START,
            secret: digits(&spec.name, "token", 32),
        };
        let (password, factory) = match (&spec.password, access.factory_password) {
            (Some(password), _) => (password.clone(), false),
            (None, Some(factory)) => (factory.to_owned(), true),
            (None, None) => (format!("xpusim-{}", spec.name), false),
        };
        accounts.reset(access, &password, factory);
        accounts
    }

    /// As from the factory, with this password.
    pub(crate) fn reset(&mut self, access: &Access, password: &str, must_change: bool) {
        self.accounts.clear();
        self.sessions.clear();
        let users = std::iter::once(&access.user).chain(access.other_users);
        for (position, user) in users.enumerate() {
            let id = self.new_id(access, user);
            self.accounts.push(Account {
                id,
                user: (*user).to_owned(),
                password: password.to_owned(),
                role: "Administrator".to_owned(),
                enabled: position == 0,
                must_change_password: must_change && position == 0,
                fixed: true,
            });
        }
    }

    /// The id that an account of that name gets.
    pub(crate) fn new_id(&self, access: &Access, user: &str) -> String {
        match access.ids {
            AccountIds::Name => user.to_owned(),
            AccountIds::Slot(first) => (first..)
                .map(|slot| slot.to_string())
                .find(|id| self.accounts.iter().all(|account| account.id != *id))
                .unwrap_or_default(),
        }
    }

    /// The position of the account with these credentials.
    pub(crate) fn check(
        &mut self,
        access: &Access,
        user: &str,
        password: &str,
        now: Moment,
    ) -> Result<usize, LoginRefused> {
        if now < self.locked_until {
            return Err(LoginRefused::Locked);
        }
        let found = self.accounts.iter().position(|account| {
            account.enabled && account.user == user && account.password == password
        });
        match found {
            Some(position) => {
                self.wrong_tries = 0;
                Ok(position)
            }
            None => {
                self.wrong_tries += 1;
                if let Some((tries, seconds)) = access.lockout
                    && self.wrong_tries >= tries
                {
                    self.wrong_tries = 0;
                    self.locked_until = now.plus(std::time::Duration::from_secs(seconds));
                }
                Err(LoginRefused::Wrong)
            }
        }
    }

    /// Opens a session; `None` when there are too many.
    pub(crate) fn open(&mut self, access: &Access, user: &str, now: Moment) -> Option<Session> {
        self.expire(access, now);
        if self.sessions.len() >= access.most_sessions {
            return None;
        }
        let id = self.next_session.to_string();
        self.next_session += 1;
        let session = Session {
            token: digits(&id, &self.secret, 40),
            id,
            user: user.to_owned(),
            last_used: now,
        };
        self.sessions.push(session.clone());
        Some(session)
    }

    /// The account behind a token, whose session lives on from now.
    pub(crate) fn of_token(&mut self, access: &Access, token: &str, now: Moment) -> Option<usize> {
        self.expire(access, now);
        let session = self
            .sessions
            .iter_mut()
            .find(|session| session.token == token)?;
        session.last_used = now;
        let user = session.user.clone();
        self.accounts
            .iter()
            .position(|account| account.enabled && account.user == user)
    }

    /// Ends the session of that id.
    pub(crate) fn close(&mut self, id: &str) -> bool {
        let before = self.sessions.len();
        self.sessions.retain(|session| session.id != id);
        self.sessions.len() < before
    }

    fn expire(&mut self, access: &Access, now: Moment) {
        self.sessions
            .retain(|session| now.since(session.last_used).as_secs() < access.session_timeout);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::personality::find;

    fn accounts(personality: &str, password: Option<&str>) -> (Accounts, &'static Access) {
        let access = &find(personality).unwrap().access;
        let spec: MachineSpec = serde_yaml::from_str("{name: a, personality: x}").unwrap();
        let spec = MachineSpec {
            password: password.map(ToOwned::to_owned),
            ..spec
        };
        (Accounts::new(access, &spec), access)
    }

    #[test]
    fn ten_wrong_tries_lock_even_the_right_password_out_for_a_while() {
        let (mut accounts, access) = accounts("bluefield-3", Some("right"));
        let now = Moment::START;
        for _ in 0..10 {
            assert_eq!(
                accounts.check(access, "root", "wrong", now),
                Err(LoginRefused::Wrong)
            );
        }
        assert_eq!(
            accounts.check(access, "root", "right", now),
            Err(LoginRefused::Locked)
        );
        let later = now.plus(Duration::from_secs(600));
        assert_eq!(accounts.check(access, "root", "right", later), Ok(0));
    }

    #[test]
    fn sessions_end_by_idleness_and_run_out() {
        let (mut accounts, access) = accounts("dell-host", None);
        let now = Moment::START;
        let first = accounts.open(access, "root", now).unwrap();
        for _ in 1..8 {
            assert!(accounts.open(access, "root", now).is_some());
        }
        assert!(accounts.open(access, "root", now).is_none());
        let later = now.plus(Duration::from_secs(1700));
        assert_eq!(accounts.of_token(access, &first.token, later), Some(0));
        let much_later = now.plus(Duration::from_secs(1900));
        assert!(
            accounts
                .of_token(access, &first.token, much_later)
                .is_some()
        );
        assert_eq!(accounts.sessions.len(), 1);
        assert!(accounts.close(&first.id) && !accounts.close(&first.id));
    }

    #[test]
    fn a_factory_password_must_be_changed_and_ids_are_as_the_vendor_counts() {
        let (blue, _) = accounts("bluefield-3", None);
        assert!(blue.accounts[0].must_change_password);
        assert_eq!(blue.accounts[0].password, "0penBmc");
        assert!(
            blue.accounts
                .iter()
                .any(|one| one.user == "NvBluefieldUefi0" && !one.enabled)
        );
        let (dell, access) = accounts("dell-host", None);
        assert_eq!(dell.accounts[0].id, "3");
        assert_eq!(dell.new_id(access, "x"), "4");
    }
}
