package main

import (
	"regexp"
	"strings"
)

// block is a part of a Caddyfile.
type block struct {
	text  strings.Builder
	depth int
}

// add adds a line of words.
func (b *block) add(words ...string) {
	b.text.WriteString(strings.Repeat("\t", b.depth))
	for i, word := range words {
		if i > 0 {
			b.text.WriteByte(' ')
		}
		b.text.WriteString(quote(word))
	}
	b.text.WriteByte('\n')
}

// open begins a block within.
func (b *block) open(words ...string) {
	b.add(append(words, "{")...)
	b.depth++
}

// end ends it.
func (b *block) end() {
	b.depth--
	b.add("}")
}

func (b *block) isEmpty() bool { return b.text.Len() == 0 }

var plainWord = regexp.MustCompile("^[^\\s\"`#][^\\s\"`]*$")

// quote writes a word so that it is one.
func quote(word string) string {
	switch {
	case word == "{", word == "}", plainWord.MatchString(word):
		return word
	case strings.Contains(word, "`"):
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
	}
	if strings.ContainsAny(word, "\"\\\n") {
		return "`" + word + "`"
	}
	return `"` + word + `"`
}

// caddyfile is the whole of it.
func (a *api) caddyfile() string {
	var b block
	b.open()
	b.open("upstream_auth")
	b.open("store", "vault")
	b.add("address", "https://vault.example.com:8200")
	b.add("auth", "token_file", "{env.CREDENTIALS_DIRECTORY}/vault-token")
	b.end()
	b.open("provider", providerName)
	b.include(&a.provider)
	b.end()
	b.end()
	b.end()
	b.text.WriteByte('\n')
	b.open(":8080")
	b.add("bind", "127.0.0.1")
	if words := []string{"upstream_auth", providerName, a.upstream}; a.site.isEmpty() {
		b.add(words...)
	} else {
		b.open(words...)
		b.include(&a.site)
		b.end()
	}
	b.end()
	if !a.connect.isEmpty() {
		b.text.WriteByte('\n')
		b.open(":8081")
		b.add("bind", "127.0.0.1")
		b.open("upstream_auth_connect", providerName)
		b.include(&a.connect)
		b.end()
		b.end()
	}
	return b.text.String()
}

// include adds the lines of another.
func (b *block) include(other *block) {
	for line := range strings.Lines(other.text.String()) {
		b.text.WriteString(strings.Repeat("\t", b.depth) + line)
	}
}
