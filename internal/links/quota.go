package links

import (
	"fmt"
	"time"
)

const (
	// MaxLinks is how many links of one tenant can be open at a time. With all their
	// attempts they are a document of 100 KB.
	MaxLinks = 100

	// MaxAttempts is how often one link can be tried within the time that an attempt has:
	// that at an authorization server, or with a form all of the link's.
	MaxAttempts = 10

	// maxWaiting is how many requests for one tenant's links wait for the store.
	maxWaiting = 32
)

// QuotaError says that a link or a tenant has had as much as they may have. Others are
// served all the same.
type QuotaError struct {
	What       string
	RetryAfter time.Duration
}

func (e *QuotaError) Error() string { return fmt.Sprintf("too many %s", e.What) }

// Seconds is RetryAfter in whole seconds, for a header.
func (e *QuotaError) Seconds() string {
	return fmt.Sprint(max(1, int64((e.RetryAfter+time.Second-1)/time.Second)))
}
