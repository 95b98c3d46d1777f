//! Takes away children that a spec no longer asks for.

use nova_plan::child::ChildRef;

use crate::cleanup::begun;
use crate::context::Context;
use crate::stop::Stop;

impl Context {
    /// Deletes those of `absent` that are there and ours, without waiting for them to be gone.
    pub async fn prune(&self, absent: &[ChildRef], owner_uid: &str) -> Result<(), Stop> {
        for at in absent {
            let ours =
                self.child(at).is_some_and(|row| row.owner_uid() == Some(owner_uid) && !row.deleting());
            if !ours {
                continue;
            }
            begun(self.remove(at, owner_uid).await)?;
        }
        Ok(())
    }
}
