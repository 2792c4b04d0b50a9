// Package lifecycle takes credentials in and lets them go: it checks what tenants,
// operators and the application bring, tries it at the upstream, writes it by
// check-and-set, and revokes what is to be gone.
//
// All ways lead through [Service.Put]: the credentials API, the administration
// API, a connection made in a browser, and what is fetched from the application
// (fetch.go). A document that is replaced hands the refresh protocol's own record on
// to its successor, so that neither a claim nor an operator's word is lost.
package lifecycle
