package proxy

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// maxApart is how many credentials have connections of their own at the same time.
const maxApart = 1000

// ApartTransport is a transport with connections of its own.
type ApartTransport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// apart are the transports of credentials whose connections are authenticated. No two
// credentials share one, so that none is used by another tenant.
type apart struct {
	mu    sync.Mutex
	byKey map[credential.Key]*list.Element
	order list.List // of *apartEntry, the last used in front
}

// apartEntry is the transport of one version of a credential.
type apartEntry struct {
	key       credential.Key
	ready     *upstream.Ready
	transport ApartTransport
	dropped   atomic.Bool
}

// RoundTrip implements [http.RoundTripper]. A transport that is used after it was dropped,
// by a request that had it already, would keep its connection.
func (e *apartEntry) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := e.transport.RoundTrip(req)
	if e.dropped.Load() {
		e.transport.CloseIdleConnections()
	}
	return res, err
}

var errNotApart = errors.New("the transport cannot have connections of one credential alone")

// transportFor returns what x is sent by.
func (t *Transport) transportFor(x *Exchange) (http.RoundTripper, error) {
	switch {
	case !x.AuthenticatesConnections():
		return t.Base, nil
	case t.Apart == nil:
		return nil, errNotApart
	}
	return t.apart.get(x.Provider.Key(x.Tenant), x.Ready, t.Apart)
}

// get returns the transport of a credential's version. The connections of the version
// before it are closed when they are idle.
func (p *apart) get(key credential.Key, ready *upstream.Ready, newTransport func(func(*tls.Config) *tls.Config) (ApartTransport, error)) (http.RoundTripper, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.byKey[key]; known != nil {
		e := known.Value.(*apartEntry)
		if e.ready == ready {
			p.order.MoveToFront(known)
			return e, nil
		}
		p.drop(known)
	}
	transport, err := newTransport(ready.TLSConfig)
	if err != nil {
		return nil, err
	}
	if p.byKey == nil {
		p.byKey = make(map[credential.Key]*list.Element)
	}
	e := &apartEntry{key: key, ready: ready, transport: transport}
	p.byKey[key] = p.order.PushFront(e)
	if p.order.Len() > maxApart {
		p.drop(p.order.Back())
	}
	return e, nil
}

func (p *apart) drop(e *list.Element) {
	gone := p.order.Remove(e).(*apartEntry)
	delete(p.byKey, gone.key)
	gone.dropped.Store(true)
	gone.transport.CloseIdleConnections()
}

// CloseIdleConnections closes those of credentials that have connections of their own.
func (t *Transport) CloseIdleConnections() {
	t.apart.mu.Lock()
	defer t.apart.mu.Unlock()
	for e := t.apart.order.Front(); e != nil; e = e.Next() {
		e.Value.(*apartEntry).transport.CloseIdleConnections()
	}
}
