// Package explain puts into words what becomes of tenants' requests, what happened last to
// their credentials, and what is wrong with a setup, with what to do. It names hosts and
// files, and nothing of a credential.
package explain
