//! Wrong variants of the broker, which prove that the tests would notice: `compat-tests/mutants/run` runs them, one at a time.
//!
//! Contract: a hook is one line at the place that goes wrong. Without the feature `mutants` it is `false` when the code is
//! compiled and costs nothing; with it the variable `OTTLA_MUTANT` names the variant that is active in this process.

/// Whether the wrong variant of this name is active.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_active(_name: &str) -> bool {
    false
}

/// Whether the wrong variant of this name is active.
#[cfg(feature = "mutants")]
pub fn is_active(name: &str) -> bool {
    static ACTIVE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ACTIVE.get_or_init(|| std::env::var("OTTLA_MUTANT").ok()).as_deref() == Some(name)
}
