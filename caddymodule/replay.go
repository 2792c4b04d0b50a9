package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// unmarshalReplay reads: replay <matcher> <arguments...>, or replay { <matchers> }
func (h *Handler) unmarshalReplay(d *caddyfile.Dispenser) error {
	set, err := caddyhttp.ParseCaddyfileNestedMatcherSet(d)
	if err != nil {
		return err
	}
	if len(set) == 0 {
		return d.ArgErr()
	}
	h.ReplayRaw = append(h.ReplayRaw, set)
	return nil
}

func (h *Handler) loadReplay(ctx caddy.Context) error {
	if len(h.ReplayRaw) == 0 {
		return nil
	}
	matchers, err := ctx.LoadModule(h, "ReplayRaw")
	if err != nil {
		return err
	}
	return h.replay.FromInterface(matchers)
}

// sendsOnce reports whether a request is not to be sent again. The error is one of
// Caddy's, with a status.
func (h *Handler) sendsOnce(r *http.Request) (bool, error) {
	if len(h.replay) == 0 {
		return false, nil
	}
	matches, err := h.replay.AnyMatchWithError(r)
	return !matches, err
}
