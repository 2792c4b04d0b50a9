package connect

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

// discovery has the metadata of one issuer. They are asked for when they are
// needed, by one request at a time.
type discovery struct {
	issuer      string
	client      *http.Client
	withoutPKCE bool
	flight      singleflight.Group

	mu    sync.Mutex
	found *metadata
	err   error
	until time.Time
}

// get returns the metadata. The error is an [ErrServerUnavailable], or that of ctx.
func (d *discovery) get(ctx context.Context) (*metadata, error) {
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
		m, err := fetchMetadata(ctx, d.client, d.issuer)
		if err == nil && !d.withoutPKCE {
			err = m.checkPKCE()
		}
		d.note(m, err)
		return m, err
	})
	select {
	case result := <-flight:
		m, _ := result.Val.(*metadata)
		return m, result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *discovery) known() (m *metadata, err error, ok bool) { //nolint:revive,staticcheck // the error is what is known
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found, d.err, time.Now().Before(d.until)
}

func (d *discovery) note(m *metadata, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ttl := metadataTTL
	if err != nil {
		ttl = metadataRest
	}
	d.found, d.err, d.until = m, err, time.Now().Add(ttl)
}
