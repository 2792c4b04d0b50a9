// Package discovery asks authorization servers what they say of themselves (OpenID Connect
// Discovery 1.0, RFC 8414).
package discovery

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// metadataTTL is how long metadata are used before they are asked for again.
	metadataTTL = time.Hour

	// metadataRest is how long a failure to get them is remembered.
	metadataRest = 5 * time.Second
)

// Issuer has the metadata of an authorization server. They are asked for when they are
// needed, by one request at a time.
type Issuer struct {
	// Name is its identifier: https, or http on a loopback host.
	Name string

	// Client asks: one of [NewClient].
	Client *http.Client

	flight singleflight.Group

	mu    sync.Mutex
	found *Metadata
	err   error
	until time.Time
}

// Get returns the metadata, which are kept for an hour. The error is an [*Error], or that of
// ctx.
func (d *Issuer) Get(ctx context.Context) (*Metadata, error) {
	if m, err, ok := d.known(); ok {
		return m, err
	}
	flight := d.flight.DoChan("", func() (any, error) {
		if m, err, ok := d.known(); ok { // since the last flight ended
			return m, err
		}
		// Detached: others wait for it too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		m, err := fetchMetadata(ctx, d.Client, d.Name)
		d.note(m, err)
		return m, err
	})
	select {
	case result := <-flight:
		m, _ := result.Val.(*Metadata)
		return m, result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *Issuer) known() (m *Metadata, err error, ok bool) { //nolint:revive,staticcheck // the error is what is known
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found, d.err, time.Now().Before(d.until)
}

func (d *Issuer) note(m *Metadata, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ttl := metadataTTL
	if err != nil {
		ttl = metadataRest
	}
	d.found, d.err, d.until = m, err, time.Now().Add(ttl)
}
