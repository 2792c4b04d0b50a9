package connect

import (
	"errors"
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// Why a person could not go on, possibly wrapped; ask with [errors.Is]. The log
// has them under "error". None of them holds a secret, a tenant's name, or
// anything that came from the browser or a server.
var (
	// ErrReturnTo says that [Flow.Link] was to return to an address that is not
	// allowed.
	ErrReturnTo = errors.New("return_to is not an allowed address")

	// ErrAccount says that [Flow.Link] was to want an account by what cannot be told of
	// one.
	ErrAccount = errors.New("account cannot be told by these claims")

	// ErrMalformed is a request that lacks a parameter, or has one twice.
	ErrMalformed = errors.New("request is malformed")

	// ErrForged is a link or a state that was not made with our key, or was changed.
	ErrForged = links.ErrForged

	// ErrExpired is a link or a state that came too late.
	ErrExpired = errors.New("link or state has expired")

	// ErrUsed is a state that had its callback, or a link that an account was
	// connected with, or that was withdrawn.
	ErrUsed = links.ErrUsed

	// ErrCrossSite is a form that another site sent.
	ErrCrossSite = errors.New("form was sent by another site")

	// ErrParameters says that what a link is to say is asked by nobody, or too long.
	ErrParameters = errors.New("parameters are not what upstream_auth_connect asks for")

	// ErrHandoff says that the code that the link wants is missing or wrong.
	ErrHandoff = errors.New("handoff code is missing or wrong")

	// ErrOtherProvider is a link or a state that was made for another provider.
	ErrOtherProvider = errors.New("link or state belongs to another provider")

	// ErrOtherRedirect is a state that came back at another redirect URI than the
	// one that it was made for (RFC 9700 section 4.4).
	ErrOtherRedirect = errors.New("state belongs to another redirect URI")

	// ErrOtherBrowser is a form or a state without the cookie that it was made with:
	// another browser's, and so possibly another tenant's.
	ErrOtherBrowser = errors.New("form or state belongs to another browser")

	// ErrIssuer is an answer of another authorization server (RFC 9207).
	ErrIssuer = errors.New("answer of another authorization server")

	// ErrDeclined says that the person, or the server for them, said no.
	ErrDeclined = errors.New("authorization was declined")

	// ErrServerRefused says that the authorization server does not take a request of
	// ours.
	ErrServerRefused = errors.New("authorization server refused")

	// ErrServerUnavailable says that the authorization server does not answer, or
	// not as it has to.
	ErrServerUnavailable = errors.New("authorization server unavailable")

	// ErrIDToken says that the id token is missing or not to be trusted.
	ErrIDToken = errors.New("id token is not acceptable")

	// ErrUserinfo says that there is no userinfo, or not this person's.
	ErrUserinfo = errors.New("userinfo is not acceptable")

	// ErrOtherAccount says that the account is not the one that the link wants.
	ErrOtherAccount = errors.New("another account than the link is for")

	// ErrNotAccepted says that [Config].Accept did not take the credential. What it
	// said is wrapped too.
	ErrNotAccepted = errors.New("credential was not accepted")
)

var errNoLink = fmt.Errorf("%w: link is missing", ErrMalformed)
