// Package upstream is what is known of an upstream API: how requests are authenticated
// with a tenant's credential, where that may go, and how it is tried, fetched and
// revoked; and how a tenant's credential is found for a request.
package upstream
