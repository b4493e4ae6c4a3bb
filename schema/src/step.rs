//! Named steps at which a test can have the process die as by `kill -9`.

/// A place between two writes. In a build with the feature `failpoints`, `SIGNET_STEP=name:count` aborts the process
/// when it comes by for the `count`th time (1 and up); in every other build it is nothing.
#[macro_export]
macro_rules! step {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::step::pass($name);
    };
}

/// Aborts if this is the time and place that `SIGNET_STEP` names.
#[cfg(feature = "failpoints")]
pub fn pass(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("SIGNET_STEP").ok()?;
        let (name, count) = plan.rsplit_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((planned, count)) = plan
        && planned == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        std::process::abort();
    }
}
