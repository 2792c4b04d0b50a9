package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// Flow connects accounts of one provider. It is safe for concurrent use, starts
// nothing that goes on for longer than its requests' deadlines, and is not to be
// closed.
type Flow struct {
	config    Config
	redirects []*redirect
	returnTo  []place
	client    *http.Client
	metadata  *discovery // nil without an issuer
	none      *credential.Credential
	logger    *slog.Logger

	loaded atomic.Pointer[sealer]

	usedLinks, usedStates *used
}

// New checks c and makes a flow of it.
func New(c Config) (*Flow, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Key == nil || c.Accept == nil {
		return nil, errors.New("connect: Key and Accept are required")
	}
	if c.LinkTTL == 0 {
		c.LinkTTL = DefaultLinkTTL
	}
	c.Scopes, c.Params = slices.Clone(c.Scopes), maps.Clone(c.Params)
	if c.Dialer == nil {
		c.Dialer = new(tokenrequest.Client)
	}
	f := &Flow{config: c, client: newClient(c.Transport, c.OAuth2.TLS), logger: c.Logger, usedLinks: &usedLinks, usedStates: &usedStates}
	if f.logger == nil {
		f.logger = slog.New(slog.DiscardHandler)
	}
	if c.Issuer != "" {
		f.metadata = &discovery{issuer: c.Issuer, client: f.client}
	}
	for _, uri := range c.RedirectURIs {
		at, err := newRedirect(uri)
		if err != nil {
			return nil, fmt.Errorf("connect: redirect_uri: %w", err)
		}
		f.redirects = append(f.redirects, at)
	}
	for _, text := range c.ReturnTo {
		p, err := parseReturnTo(text)
		if err != nil {
			return nil, fmt.Errorf("connect: return_to %w", err)
		}
		f.returnTo = append(f.returnTo, p)
	}
	none, err := credential.New(credential.Document{Data: []byte("{}")})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	f.none = none
	return f, nil
}

// ServeHTTP answers a request for a start page or a redirect URI and returns true,
// or false if r asks for something else. It goes by r.URL's path as it was sent,
// and by r.Host; r is the browser's request before any rewriting.
func (f *Flow) ServeHTTP(w http.ResponseWriter, r *http.Request) (handled bool) {
	at, step := f.find(r)
	if step == foreign {
		return false
	}
	harden(w.Header())
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		writePage(w, methodNotAllowed)
		return true
	}
	if step == starting {
		address, err := f.start(w, r, at)
		if err != nil {
			f.logFailure(r.Context(), step, err)
			writePage(w, noticeOf(err))
			return true
		}
		seeOther(w, address)
		return true
	}
	returnTo, err := f.comeBack(w, r, at)
	notice, status := connected, "success"
	if err != nil {
		notice, status = noticeOf(err), "error"
		f.logFailure(r.Context(), step, err)
	} else {
		f.logger.LogAttrs(r.Context(), slog.LevelInfo, "account connected", slog.String("provider", f.config.Provider))
	}
	// The configuration may have changed since the link was made.
	if returnTo != "" && f.mayReturnTo(returnTo) {
		seeOther(w, withStatus(returnTo, status))
		return true
	}
	writePage(w, notice)
	return true
}

// seeOther redirects without a body, which would repeat the address.
func seeOther(w http.ResponseWriter, address string) {
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
}

func (f *Flow) logFailure(ctx context.Context, s step, err error) {
	level := slog.LevelInfo
	if noticeOf(err).status >= 500 {
		level = slog.LevelWarn
	}
	f.logger.LogAttrs(ctx, level, "account not connected",
		slog.String("provider", f.config.Provider), slog.String("step", s.String()), slog.Any("error", err))
}

// sealer loads the key at its first use.
func (f *Flow) sealer(ctx context.Context) (*sealer, error) {
	if s := f.loaded.Load(); s != nil {
		return s, nil
	}
	key, err := f.config.Key(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKey, err)
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("%w: it is not %d bytes long", errKey, KeySize)
	}
	s := &sealer{key: slices.Clone(key)}
	f.loaded.Store(s)
	return s, nil
}
