//! Settings that change while a node runs.

use std::rc::Rc;
use std::sync::Arc;

use edgeway_config::CoreSettings;

use super::Prepared;
use crate::http::LocalFuture;

/// What gets ready for new settings, and uses them. On the reactor's thread.
pub(crate) trait Live {
    /// Gets ready and changes nothing; what was prepared before is forgotten.
    fn prepare(self: Rc<Self>, settings: Arc<CoreSettings>) -> LocalFuture<'static, Result<Prepared, Vec<String>>>;

    /// Uses what was prepared: from then on it holds. `false`: nothing was.
    fn apply(self: Rc<Self>) -> LocalFuture<'static, bool>;

    /// Forgets what was prepared.
    fn abort(&self);
}
