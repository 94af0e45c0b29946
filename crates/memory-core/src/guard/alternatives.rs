//! Closed sets, where naming another member asks another question: weekdays, countries, colours, systems.

use super::alignment::{Alignment, Side};
use super::tokens::{Kind, Token};
use super::{GuardCheck, GuardRefusal};

/// Refuses when both prompts name a member of one set that the other does not name.
pub(super) fn check(pair: &Alignment<'_>, refusals: &mut Vec<GuardRefusal>) {
    if !pair.english {
        return;
    }
    let (asked, cached) = (named(pair.asked_side()), named(pair.cached_side()));
    let lacks = |side: &[Named<'_>], member: Member| !side.iter().any(|named| named.member == member);
    for a in asked.iter().filter(|named| lacks(&cached, named.member)) {
        let rival = cached.iter().find(|c| c.member.set == a.member.set && lacks(&asked, c.member));
        if let Some(c) = rival {
            refusals.push(GuardRefusal {
                check: GuardCheck::Name,
                asked: a.token.text.to_string(),
                cached: c.token.text.to_string(),
            });
            return;
        }
    }
}

/// Whether two words are names of one thing, such as "German" and "Germany".
pub(super) fn is_alias(a: &Token, b: &Token) -> bool {
    a.of_stem.member.is_some() && a.of_stem.member == b.of_stem.member
}

/// A place in the sets: aliases share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    set: usize,
    place: usize,
}

#[derive(Debug)]
struct Named<'a> {
    member: Member,
    token: &'a Token,
}

const MAX_MEMBERS: usize = 64;

/// The members a prompt names; "may", "march" and the like only where they are written as months.
fn named(side: Side<'_>) -> Vec<Named<'_>> {
    side.tokens()
        .filter(|(_, token)| token.kind == Kind::Word)
        .filter_map(|(at, token)| {
            token.of_stem.member.filter(|_| is_meant(side, at, token)).map(|member| Named { member, token })
        })
        .take(MAX_MEMBERS)
        .collect()
}

/// "us" is a country only in capitals, "may" a month only where it is written as one.
fn is_meant(side: Side<'_>, at: usize, token: &Token) -> bool {
    match &*token.key {
        "us" => token.text.starts_with('U'),
        "may" | "march" | "mar" | "jun" | "sun" | "sat" | "turkey" => is_month(side, at),
        _ => true,
    }
}

fn is_month(side: Side<'_>, at: usize) -> bool {
    let number = |at: Option<usize>| {
        at.and_then(|at| side.prompt.tokens.get(at)).is_some_and(|token| token.kind == Kind::Number)
    };
    number(at.checked_sub(1))
        || number(Some(at + 1))
        || matches!(side.key_before(at), "in" | "since" | "until" | "last" | "next")
}

/// Every name of a member, with the member. A later name of the same stem wins.
pub(super) fn members() -> impl Iterator<Item = (&'static str, Member)> {
    SETS.lines().filter(|line| !line.is_empty()).enumerate().flat_map(|(set, line)| {
        line.split_whitespace()
            .enumerate()
            .flat_map(move |(place, aliases)| aliases.split('=').map(move |alias| (alias, Member { set, place })))
    })
}

/// A set a line, its members apart by spaces, aliases of one member by "=".
const SETS: &str = "
monday=mon tuesday=tue=tues wednesday=wed thursday=thu=thurs friday=fri saturday=sat sunday=sun
january=jan february=feb march=mar april=apr may june=jun july=jul august=aug september=sep=sept october=oct november=nov december=dec
spring summer autumn winter
yesterday today tomorrow tonight
morning noon afternoon evening night midnight
breakfast lunch dinner supper brunch
north=northern south=southern east=eastern west=western
red blue green yellow orange purple pink brown black white grey
mother=mom=mum=mommy father=dad=daddy brother sister son daughter uncle aunt grandmother=grandma grandfather=grandpa wife husband
dog=dogs=puppy cat=kitten horse rabbit hamster parrot goldfish
chicken beef pork lamb fish salmon shrimp tofu turkey tuna duck
rice pasta bread potato quinoa noodles couscous oatmeal
coffee tea beer wine whisky=whiskey milk juice vodka water
apple banana strawberry pear peach mango pineapple grape
windows linux macos=mac android ios ubuntu debian fedora chromeos
python java javascript=js typescript rust golang ruby php kotlin swift scala perl haskell
postgres=postgresql mysql sqlite mongodb redis oracle cassandra mariadb
aws azure gcp heroku
docker kubernetes=k8s podman
chrome firefox safari edge opera
gmail outlook yahoo hotmail
facebook instagram twitter tiktok youtube linkedin whatsapp telegram snapchat reddit pinterest
visa=visas passport
mercury venus earth mars jupiter saturn uranus neptune pluto moon sun
gold silver platinum copper bronze iron steel aluminium=aluminum
bitcoin ethereum dogecoin litecoin
english french spanish german italian portuguese russian chinese=mandarin japanese korean arabic hindi
gdp=gdps inflation unemployment
king queen prince princess
adult child=kid baby=infant toddler teenager=teen senior
halal haram
pro=pros con=cons
heart liver kidney lung brain stomach
ibuprofen paracetamol=acetaminophen aspirin
usa=us=america=american uk=britain=british france=french germany=german italy=italian spain=spanish portugal=portuguese netherlands=dutch belgium=belgian switzerland=swiss austria=austrian poland=polish sweden=swedish norway=norwegian denmark=danish finland=finnish iceland=icelandic ireland=irish scotland=scottish greece=greek hungary=hungarian romania=romanian bulgaria=bulgarian ukraine=ukrainian russia=russian turkey=turkish egypt=egyptian morocco=moroccan nigeria=nigerian kenya=kenyan ethiopia=ethiopian ghana=ghanaian india=indian pakistan=pakistani bangladesh nepal china=chinese japan=japanese korea=korean vietnam=vietnamese thailand=thai indonesia=indonesian malaysia=malaysian philippines=filipino singapore australia=australian canada=canadian mexico=mexican brazil=brazilian argentina=argentinian chile=chilean peru=peruvian colombia=colombian venezuela=venezuelan cuba=cuban israel=israeli iran=iranian iraq=iraqi syria=syrian saudi qatar dubai croatia=croatian serbia=serbian slovakia slovenia czechia=czech estonia latvia lithuania algeria tunisia uganda tanzania zimbabwe afghanistan
paris london berlin madrid rome lisbon vienna amsterdam brussels dublin prague budapest warsaw stockholm oslo copenhagen helsinki athens istanbul moscow kyiv=kiev tokyo kyoto osaka beijing shanghai seoul delhi mumbai bangkok hanoi jakarta sydney melbourne toronto vancouver montreal chicago boston seattle miami dallas houston denver barcelona munich hamburg milan venice florence naples zurich geneva cairo nairobi lagos
california texas florida nevada ohio oregon alaska hawaii arizona colorado georgia illinois michigan virginia washington utah
europe=european asia=asian africa=african antarctica oceania
iphone samsung google microsoft amazon tesla toyota honda ford bmw netflix nvidia intel amd sony nokia huawei xiaomi
einstein newton darwin galileo curie
christmas easter thanksgiving halloween
football=soccer basketball baseball tennis golf hockey cricket rugby volleyball
guitar piano violin drums flute cello ukulele
";

#[cfg(test)]
mod tests {
    use super::super::compare;

    #[test]
    fn another_member_of_a_set_is_another_question() {
        for (a, b) in [
            ("are you open on monday", "are you open on tuesday"),
            ("capital of france", "capital of germany"),
            ("install it on windows", "install it on linux"),
            ("weather tomorrow", "weather today"),
            ("flights in may", "flights in june"),
        ] {
            assert!(!compare(a, b).is_empty(), "{a} / {b}");
        }
    }

    #[test]
    fn aliases_are_one_member() {
        assert!(compare("the population of Germany", "the German population").is_empty());
        assert!(compare("install postgres", "install PostgreSQL").is_empty());
    }

    #[test]
    fn may_is_a_month_only_where_it_is_written_as_one() {
        assert!(compare("may I park here on June 5", "can I park here on June 5").is_empty());
    }
}
