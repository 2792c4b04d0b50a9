// Package modelcheck searches the refresh protocol exhaustively for a way to
// break its promise. It holds a model of the protocol, not its code: each state
// is a small fixed-size value, each step one thing that somebody does or that
// goes wrong, and the search visits every state that a bounded number of faults
// can lead to. The tests assert that no property is broken, and that for each
// known way to get the protocol wrong one is.
//
// # What is modelled
//
//   - Three replicas, two of which share a machine and so a journal directory;
//     one credential; three generations of its refresh token (two rotations),
//     and another line of tokens that an operator brings in.
//   - The document with its older versions. Writes are check-and-sets; an answer
//     can be lost, a write can be lost or land later than its caller waited for.
//   - An authorization server that takes each token once (or, with grace, for
//     some time more), whose requests and answers can be slow or lost, and that
//     may say 503.
//   - Crashes at every step with restarts as new processes, and stops at every
//     step that outlast every deadline and takeover.
//   - Journals: the notes of the living, and of the dead until somebody who gets
//     the file's lock has settled them.
//   - Operators who put, patch, delete, undelete, disable and enable.
//
// # What is one step
//
// A read and the check-and-set that it leads to are one step: the check-and-set
// succeeds only if nothing was written in between, and changes nothing if it
// fails. (With Vault's soft deletion that is not so, since it leaves the version
// as it is: that race shows in the model as a late write.) The look at the clock
// and the first byte of the token request are one step too; what a stop between
// the two can do is the window that remains. Between all other
// steps anything may happen.
//
// # Time
//
// There are no clocks but events: a stop makes the hard deadline pass for whom
// it stops. Takeover can have passed for a claim while nobody who runs works on
// it or has its answer, as those who run need much less time than that; to be
// cut off from the store for so long counts as being stopped. What such a
// takeover gives up is marked as forsaken, and excused: see [config.strict].
//
// # What is not modelled
//
// A deleted version in the history always counts as a claim; the code passes over
// one that cannot have been a claim on the token, as its base has another one.
// Versions are not numbered, so the deletion of a document's metadata, after
// which the numbers start again, cannot be told; nor can a history that is
// longer than the store keeps. Disks do not fail, other clients do not share the
// token, access tokens are not told apart from the refresh tokens they came with,
// and the server does not revoke a whole line of tokens when one is used twice:
// the search looks for the second use itself.
package modelcheck
