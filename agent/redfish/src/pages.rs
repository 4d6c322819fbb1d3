//! Collections that come in pages (Redfish, DSP0266, "Resource collections").

use std::collections::BTreeSet;

use serde_json::Value;

use crate::document::{LONGEST_PATH, number, path, references};
use crate::documents::Documents;
use crate::error::BmcError;
use crate::transport::CUT;

/// Pages of one collection that are read.
const MOST_PAGES: usize = 16;

/// More members than a BMC has: what tells of more is taken for that many.
const MOST_TOLD: i64 = 1_000_000;

/// Where the next page is.
const NEXT: &str = "Members@odata.nextLink";

/// What a collection lists, page by page.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The members so far, as they are listed.
    pub(crate) paths: Vec<String>,
    /// How many members are wanted: with so many, no further page is.
    most: usize,
    /// The pages so far: one that leads back is not read again.
    read: BTreeSet<String>,
    /// How many members the pages so far had that were not kept.
    cut: i64,
    /// How many members there are, as told.
    told: i64,
    /// Whether there is a page that was not taken.
    is_open: bool,
}

impl Pages {
    /// None of the collection at `first` yet, of which `most` members are wanted.
    pub(crate) fn of(first: &str, most: usize) -> Self {
        Self {
            paths: Vec::new(),
            most,
            read: BTreeSet::from([first.to_owned()]),
            cut: 0,
            told: 0,
            is_open: true,
        }
    }

    /// Takes what one page lists. The path of the next, if that is to be read.
    pub(crate) fn take(&mut self, page: &Value) -> Option<String> {
        let members = page
            .get("Members")
            .filter(|members| members.is_array() || members.is_object());
        let Some(members) = members else {
            // Some leave the list out where there is nothing to list.
            let is_empty = number(page, "Members@odata.count") == Some(0) && !has_next(page);
            self.is_open &= !is_empty;
            return None;
        };
        let (paths, too_long): (Vec<String>, Vec<String>) = references(members)
            .into_iter()
            .partition(|path| path.len() <= LONGEST_PATH);
        self.paths.extend(paths);
        let cut = number(page, CUT).unwrap_or(0);
        let too_long = i64::try_from(too_long.len()).unwrap_or(i64::MAX);
        let cut = cut.saturating_add(too_long);
        self.cut = self.cut.saturating_add(cut);
        let told = number(page, "Members@odata.count").unwrap_or(0);
        self.told = self.told.max(told.min(MOST_TOLD));
        self.is_open = has_next(page);
        let next = path(page, NEXT)?;
        if self.read.contains(&next) && self.told > 0 && self.told <= self.listed() {
            // Some name a page that was read where there is none: nothing is missing.
            self.is_open = false;
        }
        let is_wanted = self.paths.len() < self.most && self.read.len() < MOST_PAGES;
        (is_wanted && self.read.insert(next.clone())).then_some(next)
    }

    fn listed(&self) -> i64 {
        i64::try_from(self.paths.len()).unwrap_or(i64::MAX)
    }

    /// Whether every member that a page lists is here. Unlike [`Self::beyond`] this does not go by how
    /// many there are said to be, which some BMCs count wrongly.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_open && self.cut == 0
    }

    /// How many members there are beyond these, at least.
    pub(crate) fn beyond(&self) -> i64 {
        let told = self.told.saturating_sub(self.listed());
        told.max(self.cut).max(i64::from(self.is_open))
    }
}

/// What `collection` lists, page by page, until there are `most` members. Whoever needs all of them
/// asks [`Pages::is_whole`].
pub(crate) async fn listed(
    documents: &mut impl Documents,
    collection: &str,
    most: usize,
) -> Result<Pages, BmcError> {
    let mut pages = Pages::of(collection, most);
    let mut next = pages.take(&*documents.get(collection).await?);
    while let Some(path) = next {
        // One that is named and not there leaves the list open.
        let page = documents.get_if_there(&path).await?;
        next = page.and_then(|page| pages.take(&page));
    }
    Ok(pages)
}

/// Whether a page says that there is one behind it.
pub(crate) fn has_next(page: &Value) -> bool {
    page.get(NEXT)
        .is_some_and(|next| !next.is_null() && next != "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(members: &[&str], told: Option<i64>, next: Option<&str>) -> Value {
        let members: Vec<Value> = members.iter().map(|id| json!({"@odata.id": id})).collect();
        json!({"Members": members, "Members@odata.count": told, NEXT: next})
    }

    #[test]
    fn pages_are_one_list() {
        let mut pages = Pages::of("/c", 10);
        let next = pages.take(&page(&["/1", "/2"], Some(3), Some("/c?$skip=2")));
        assert_eq!(next.as_deref(), Some("/c?$skip=2"));
        assert_eq!(pages.beyond(), 1);
        assert_eq!(pages.take(&page(&["/3"], Some(3), None)), None);
        assert_eq!(pages.paths, ["/1", "/2", "/3"]);
        assert_eq!(pages.beyond(), 0);
    }

    #[test]
    fn what_is_told_and_not_listed_is_beyond() {
        for (told, next, beyond) in [
            (None, None, 0),
            (Some(0), None, 0),
            (Some(8), None, 7),
            (Some(8), Some("/c?$skip=1"), 7),
            (None, Some("/c?$skip=1"), 1),
            // A page that leads back, and a link that is none.
            (None, Some("/c"), 1),
            (Some(1), Some("/c"), 0),
            (None, Some(""), 0),
            (Some(i64::MAX), None, MOST_TOLD - 1),
        ] {
            let mut pages = Pages::of("/c", 10);
            pages.take(&page(&["/1"], told, next));
            assert_eq!(pages.beyond(), beyond, "{told:?} {next:?}");
        }
        let mut pages = Pages::of("/c", 10);
        pages.take(&page(&["/1"], Some(8), None));
        assert!(
            pages.is_whole() && pages.beyond() == 7,
            "who counts wrongly"
        );
        let mut pages = Pages::of("/c", 10);
        pages.take(&json!({"Members@odata.count": 0}));
        assert!(pages.is_whole() && pages.beyond() == 0);
        // What is no page does not end the list.
        let mut pages = Pages::of("/c", 10);
        pages.take(&page(&["/1"], None, Some("/2")));
        assert_eq!(pages.take(&json!({"@odata.id": "/2"})), None);
        assert!(pages.beyond() == 1 && !pages.is_whole());
    }

    #[test]
    fn no_page_is_read_for_more_members_than_are_wanted() {
        let mut pages = Pages::of("/c", 2);
        let next = pages.take(&page(&["/1", "/2"], Some(9), Some("/c?$skip=2")));
        assert_eq!((next, pages.beyond()), (None, 7));
    }

    #[test]
    fn pages_come_to_an_end() {
        let mut pages = Pages::of("/c", 10_000);
        let mut reads = 1;
        while let Some(path) = pages.take(&page(&["/1"], None, Some(&format!("/{reads}")))) {
            assert_eq!(path, format!("/{reads}"));
            reads += 1;
        }
        assert_eq!((reads, pages.beyond()), (MOST_PAGES, 1));
    }
}
