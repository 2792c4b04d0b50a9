// Package links keeps the links by which end users connect accounts: what each is for
// and what has become of it lies in the store, where every replica sees the same.
//
// A tenant's links are one document (registry.go), changed by check-and-set: a link that
// was used or withdrawn is so for all replicas, and so is an attempt at using one, which
// has one end. The document names links by the SHA-256 of their ids, so that who may read
// the store can make none of it. Each tenant has its own, with as many links and attempts
// as they may have (quota.go): nothing is kept in memory but who waits for the store
// (turns.go).
//
// What browsers carry is sealed (seal.go) with keys that are for nothing else (keys.go).
// They keep tenants' names from whoever sees a link, and the store from being asked about
// what nobody made. To know them is not enough for a link: its id has to be registered.
package links
