//! Which prompts were seen before, in eight bytes each.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::generation::Message;
use crate::prompt::PromptId;

/// Gives ids, and finds prompts whose content or id was seen before.
///
/// Contents and ids are remembered as 64-bit hashes. Among a million prompts two different ones are
/// taken for the same with a probability below one in ten million.
pub(super) struct Unique {
    keep_duplicates: bool,
    /// Hashes of the ids that contents have or would have.
    contents: HashSet64,
    /// Hashes of all other ids given out.
    ids: HashSet64,
    /// How often a content without an id of its own occurred, from the second time on.
    repeats: HashMap<u64, u32>,
}

impl Unique {
    pub fn new(keep_duplicates: bool) -> Self {
        Self {
            keep_duplicates,
            contents: HashSet64::new(),
            ids: HashSet64::new(),
            repeats: HashMap::new(),
        }
    }

    /// The id of a prompt; `None` when its content was seen before and is kept once. The error says
    /// why the prompt's id cannot be used.
    pub fn admit(
        &mut self,
        own: Option<String>,
        messages: &[Message],
    ) -> Result<Option<PromptId>, String> {
        let content_id = PromptId::from_content(messages);
        let content = hash(&content_id.0);
        let seen = self.contents.contains(content);
        if seen && !self.keep_duplicates {
            return Ok(None);
        }
        let id = match own {
            Some(own) => PromptId(own),
            None if seen => self.numbered(&content_id, content),
            None => content_id,
        };
        let key = hash(&id.0);
        let made_here = key == content;
        if self.ids.contains(key) || self.contents.contains(key) {
            return Err(format!(
                "the id {} belongs to an earlier row; give every row an id of its own",
                super::row::shown(&id.0)
            ));
        }
        self.contents.insert(content);
        if !made_here {
            self.ids.insert(key);
        }
        Ok(Some(id))
    }

    /// An id for a content that occurs again: `-2` for the second time, and so on.
    fn numbered(&mut self, content_id: &PromptId, content: u64) -> PromptId {
        let count = self.repeats.entry(content).or_insert(1);
        loop {
            *count = count.saturating_add(1);
            let id = PromptId(format!("{content_id}-{count}"));
            if !self.ids.contains(hash(&id.0)) {
                return id;
            }
        }
    }
}

fn hash(id: &str) -> u64 {
    let digest = Digest::of_bytes(id.as_bytes());
    // A digest is 64 hexadecimal digits after its tag, so the fallback is never taken.
    u64::from_str_radix(digest.as_str().get(3..19).unwrap_or("0"), 16).unwrap_or(0)
}

/// A set of hashes as many short sorted lists. It grows list by list, so that its peak is about 10
/// bytes for each hash, where a hash table that doubles holds 18 and for a moment 27.
struct HashSet64 {
    shards: Vec<Vec<u64>>,
}

/// Bits of a hash that choose its list.
const SHARD_BITS: u32 = 12;

impl HashSet64 {
    fn new() -> Self {
        Self {
            shards: vec![Vec::new(); 1 << SHARD_BITS],
        }
    }

    fn contains(&self, hash: u64) -> bool {
        self.shard(hash).binary_search(&hash).is_ok()
    }

    fn insert(&mut self, hash: u64) {
        let shard = &mut self.shards[(hash >> (64 - SHARD_BITS)) as usize];
        if let Err(place) = shard.binary_search(&hash) {
            shard.insert(place, hash);
        }
    }

    fn shard(&self, hash: u64) -> &[u64] {
        &self.shards[(hash >> (64 - SHARD_BITS)) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(unique: &mut Unique, own: Option<&str>, text: &str) -> Result<Option<String>, String> {
        unique
            .admit(own.map(str::to_owned), &[Message::user(text)])
            .map(|id| id.map(|id| id.0))
    }

    #[test]
    fn a_content_is_kept_once() {
        let mut unique = Unique::new(false);
        assert!(admit(&mut unique, None, "a").unwrap().is_some());
        assert_eq!(admit(&mut unique, None, "a"), Ok(None));
        assert_eq!(admit(&mut unique, Some("x"), "a"), Ok(None));
        assert_eq!(admit(&mut unique, Some("x"), "b"), Ok(Some("x".to_owned())));
        assert_eq!(admit(&mut unique, None, "b"), Ok(None));
    }

    #[test]
    fn an_id_names_one_content() {
        let mut unique = Unique::new(false);
        assert!(admit(&mut unique, Some("x"), "a").is_ok());
        let reason = admit(&mut unique, Some("x"), "b").unwrap_err();
        assert!(reason.contains("`x`"), "{reason}");
        // The refused content was not remembered: it can still come with an id of its own.
        assert_eq!(admit(&mut unique, Some("y"), "b"), Ok(Some("y".to_owned())));
    }

    #[test]
    fn kept_duplicates_have_ids_of_their_own() {
        let mut unique = Unique::new(true);
        let first = admit(&mut unique, None, "a").unwrap().unwrap();
        // A row that claims the next number pushes the count on.
        let claimed = format!("{first}-2");
        assert_eq!(
            admit(&mut unique, Some(&claimed), "b"),
            Ok(Some(claimed.clone()))
        );
        assert_eq!(
            admit(&mut unique, None, "a"),
            Ok(Some(format!("{first}-3")))
        );
        assert_eq!(
            admit(&mut unique, None, "a"),
            Ok(Some(format!("{first}-4")))
        );
        assert!(admit(&mut unique, Some(&claimed), "b").is_err());
    }

    #[test]
    fn an_id_that_equals_a_made_one_is_a_conflict_only_with_other_content() {
        let own = PromptId::from_content(&[Message::user("a")]).0;
        let mut unique = Unique::new(false);
        assert_eq!(admit(&mut unique, Some(&own), "a"), Ok(Some(own.clone())));
        assert!(admit(&mut unique, Some(&own), "b").is_err());
        let mut unique = Unique::new(false);
        assert_eq!(admit(&mut unique, Some(&own), "b"), Ok(Some(own.clone())));
        assert!(admit(&mut unique, None, "a").is_err());
    }

    #[test]
    fn the_set_holds_what_was_put_in() {
        let mut set = HashSet64::new();
        let values = [0, 1, u64::MAX, 1 << 52, (1 << 52) + 1];
        for value in values {
            assert!(!set.contains(value));
            set.insert(value);
            set.insert(value);
        }
        assert!(values.iter().all(|&value| set.contains(value)));
        assert!(!set.contains(2));
    }
}
