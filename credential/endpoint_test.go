package credential

import "testing"

func TestSecretsGoToEndpointsAlone(t *testing.T) {
	for text, valid := range map[string]bool{
		"https://login.example.com/token?x=1": true,
		"https://[2001:db8::1]:8443":          true,
		"http://localhost:9000/token":         true,
		"http://LOCALHOST/":                   true,
		"http://127.0.0.1/":                   true,
		"http://127.9.9.9/":                   true,
		"http://[::1]:80/":                    true,
		"http://login.example.com/token":      false,
		"http://127.0.0.1.example.com/":       false,
		"http://localhost.example.com/":       false,
		"http://[::ffff:8.8.8.8]/":            false,
		"http://0.0.0.0/":                     false,
		"https://user:pw@login.example.com":   false,
		"https://login.example.com/#x":        false,
		"https://login.example.com/#":         false,
		"https:login.example.com":             false,
		"https:///token":                      false,
		"https://:443/":                       false,
		"//login.example.com/":                false,
		"ftp://login.example.com/":            false,
		"/token":                              false,
		"\x7f://":                             false,
		"":                                    false,
	} {
		if u, err := ParseEndpoint(text); valid != (err == nil) || valid && u.Host == "" {
			t.Errorf("%q: %v, %v", text, u, err)
		}
	}
}
