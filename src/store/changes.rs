//! Whether a store was written to since one looked.

use super::{Store, StoreError};

impl Store {
    /// A number that is another one after any other connection has written to the file, in this process
    /// or elsewhere. Reads nothing from the file, and holds nobody up.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        self.read(|conn| conn.pragma_query_value(None, "data_version", |row| row.get(0)))
    }
}
