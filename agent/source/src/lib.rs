//! Sources of pipelines: what a repository holds now, and its files in a folder. Git and Subversion, by their own programs.
//!
//! What a repository says is not trusted: no hooks, no helpers, no protocols but the listed ones, no path outside of the folder. What it
//! costs is bounded in time and bytes. Deliberately absent: what is done with the files.
