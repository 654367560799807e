"""The stable codes of findings about a mesh file. docs/reference/mesh-file.md explains each; never reuse a number."""

from enum import StrEnum


class Code(StrEnum):
    UNREADABLE = "MSH2001"
    SYNTAX = "MSH2002"
    EMPTY = "MSH2003"
    UNKNOWN_FIELD = "MSH2004"
    TWICE = "MSH2005"
    WRONG_TYPE = "MSH2006"
    MISSING = "MSH2007"
    BAD_VALUE = "MSH2008"
    EXCLUSIVE = "MSH2009"
    TOO_MANY = "MSH2010"
    INCOMPLETE_DOCUMENT = "MSH2011"
    NO_EFFECT = "MSH2012"
