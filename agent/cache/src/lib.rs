//! File caches: named stores of files that containers hand to each other.
//!
//! Deliberately absent: containers, mounts, clocks, and any word of whose caches they are.
