// Package auth is who may speak for an account: passwords, access and refresh tokens, user-interactive authentication, and the
// making of accounts.
//
// Spec: client-server v1.19 §client-authentication
//
// Invariants:
//   - The database holds no token and no password: SHA-256 of tokens (they are 256 random bits, so nothing slower is
//     needed), argon2id of passwords.
//   - A session belongs to one device, a device to one user, a user to one organisation. A device has at most one session;
//     signing in on a device ends the session it had.
//   - Everything that takes a right away (logout, lock, new password, refresh) writes a store.KindSession update in the same
//     transaction. Every process drops what it remembers of that user when it sees the update, and trusts its memory
//     only while the journal is fresh. The hot path asks no database.
//   - A wrong password, an unknown user, an account without a password and a closed account get the same answer after the
//     same work.
//
// Start reading at Sessions.Authenticate (sessions.go), then Refresh (refresh.go), Accounts.VerifyPassword (login.go) and
// Interactive (uia.go).
package auth
