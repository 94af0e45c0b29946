//! Bringing a source into a store, once and for all.

use memory_core::{Gate, Replica, Result, Writers};

use super::Import;

impl Import {
    /// Copies all of it into a store that is not in use, and opens that store. Done again it changes nothing, so what was
    /// interrupted is done by doing it again. Until it is done clients of the store are refused, also where it fails.
    ///
    /// Memories without a vector get one where the store is served. `batch` is how many are written together; `done` is told
    /// how many were, all in all.
    ///
    /// # Errors
    /// As the source or the store fails: [`Error::Invalid`](memory_core::Error::Invalid) where the store has other memories,
    /// which have the first places in its order.
    pub async fn copy_to(&self, store: &dyn Replica, batch: usize, mut done: impl FnMut(u64) + Send) -> Result<u64> {
        let epoch = store.gate().await?.epoch + 1;
        store.set_gate(Gate { epoch, writers: Writers::Mover }).await?;
        let (mut after, mut written) = (None, 0);
        loop {
            let page = self.scan(after.as_ref(), batch).await?;
            written += page.items.len() as u64;
            store.write(epoch, page.items).await?;
            done(written);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        store.set_gate(Gate { epoch: epoch + 1, writers: Writers::Clients }).await?;
        Ok(written)
    }
}
