//! The states of a transactional id (Kafka's `TransactionState`).

/// Where a transactional id is in the life of its transactions. Kafka's Dead (expired, a tombstone is being written) and
/// PrepareEpochFence (fenced, the abort is being written) last only while Kafka waits for its log; here a shard decides and
/// writes in one step, so they are names in filters and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransactionState {
    /// Initialized, no transaction yet.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// The commit is decided; markers are being written.
    PrepareCommit,
    /// The abort is decided; markers are being written.
    PrepareAbort,
    /// All markers of a commit are written.
    CompleteCommit,
    /// All markers of an abort are written.
    CompleteAbort,
}

impl TransactionState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// The number in records.
    pub fn id(self) -> i8 {
        self as i8
    }

    /// From the number in a record; `None` for numbers that Kafka never writes.
    pub fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.id() == id)
    }

    /// Kafka's name, in DescribeTransactions and ListTransactions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether `name` is a state of Kafka's, with those that no id of ours is ever in.
    pub fn is_known_name(name: &str) -> bool {
        name == "Dead" || name == "PrepareEpochFence" || Self::ALL.iter().any(|state| state.name() == name)
    }

    /// The transaction is decided, and its markers are being written.
    pub fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// No transaction is open or undecided: the id may expire.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }

    /// Whether a transactional id may come from `previous` to this state (`TransactionState.VALID_PREVIOUS_STATES`).
    pub fn may_follow(self, previous: Self) -> bool {
        match self {
            Self::Empty => previous.is_idle(),
            // An abort of nothing is legal since transaction.version 2.
            Self::Ongoing | Self::PrepareAbort => previous.is_idle() || previous == Self::Ongoing,
            Self::PrepareCommit => previous == Self::Ongoing,
            Self::CompleteCommit => previous == Self::PrepareCommit,
            Self::CompleteAbort => previous == Self::PrepareAbort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_kafkas() {
        let expected = ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"];
        for (number, name) in (0..).zip(expected) {
            let state = TransactionState::from_id(number).expect("a state");
            assert_eq!((state.id(), state.name()), (number, name));
            assert!(TransactionState::is_known_name(name));
        }
        assert_eq!(TransactionState::from_id(6), None);
        assert_eq!(TransactionState::from_id(-1), None);
        assert!(TransactionState::is_known_name("Dead"));
        assert!(TransactionState::is_known_name("PrepareEpochFence"));
        assert!(!TransactionState::is_known_name("ongoing"), "case matters, as in Kafka");
    }

    #[test]
    fn transitions_are_kafkas() {
        use TransactionState as S;
        let legal = [
            (S::Empty, vec![S::Empty, S::CompleteCommit, S::CompleteAbort]),
            (S::Ongoing, vec![S::Empty, S::Ongoing, S::CompleteCommit, S::CompleteAbort]),
            (S::PrepareCommit, vec![S::Ongoing]),
            (S::PrepareAbort, vec![S::Empty, S::Ongoing, S::CompleteCommit, S::CompleteAbort]),
            (S::CompleteCommit, vec![S::PrepareCommit]),
            (S::CompleteAbort, vec![S::PrepareAbort]),
        ];
        for (state, previous) in legal {
            let found: Vec<_> = S::ALL.into_iter().filter(|from| state.may_follow(*from)).collect();
            assert_eq!(found, previous, "{state:?}");
        }
    }
}
