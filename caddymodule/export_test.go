package caddymodule

// Backends are the stores in use.
var Backends = backends

// ErrSettings refuses another opening of one store.
var ErrSettings = errSettings

// ExchangeVar is where a request's exchange is kept.
const ExchangeVar = exchangeVar
