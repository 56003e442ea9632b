//! Against a throwaway server.
